import { type EndedGrant, type RevocationRequest, revocationRequestSchema } from '../../contract/grant.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { parseOptions } from '../options.ts'
import { printable, table } from '../terminal.ts'

const usage = `
usage: writ revoke GRANT [--reason TEXT]
       writ revoke (--workload W | --owner TEAM | --purpose P | --issuer I | --credential C | --task T | --all)
                   --reason TEXT [--dry-run] [--yes]

Ends one grant, or with one of the options every live grant that matches: the kill switch, for operators and the owner
concerned. It waits until Vault has really ended each secret and says how long that took.

  --reason TEXT       for the record; needed for the kill switch
  --dry-run           only say which grants would end
  --yes               do not ask; needed where there is no terminal
  --json              one document
${clientHelp}

Exit status 1 when a secret could not be ended; the broker goes on trying.

examples:
  writ revoke gr_01jd2k… --reason "found in a log"
  writ revoke --issuer cluster-eu --reason "signing key leaked" --dry-run
`

/** `writ revoke`: end one grant, or all that match. */
export const revokeCommand: Command = { name: 'revoke', summary: 'end one grant, or all that match', usage, run }

const matchers = ['workload', 'owner', 'purpose', 'issuer', 'credential', 'task'] as const

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      ...clientOptions,
      workload: { type: 'string' },
      owner: { type: 'string' },
      purpose: { type: 'string' },
      issuer: { type: 'string' },
      credential: { type: 'string' },
      task: { type: 'string' },
      all: { type: 'boolean' },
      reason: { type: 'string' },
      'dry-run': { type: 'boolean' },
      yes: { type: 'boolean' },
      json: { type: 'boolean' },
    },
    ['[GRANT]'],
  )
  const [grant] = positionals
  const given = matchers.filter((name) => values[name] !== undefined)
  const chosen = given.length + (values.all ? 1 : 0) + (grant === undefined ? 0 : 1)
  if (chosen !== 1) throw new UsageError('name one grant, or exactly one of --workload, --owner, … or --all')
  const client = connect(values, io)

  if (grant !== undefined) {
    if (values['dry-run']) throw new UsageError('--dry-run goes with --workload, --owner, … or --all')
    const ended = await client.revoke(grant, values.reason)
    return report(values.json ? ended : undefined, [ended], io)
  }
  const request = toRequest(values, given)
  if (values['dry-run']) {
    const { matched, grants } = await client.revokeMatching({ ...request, dry_run: true })
    if (values.json) writeJson(io, { matched, grants, dry_run: true })
    else
      io.stdout(
        `${matched} grants would end\n${grants.map(({ grant, credential }) => `${grant}  ${printable(credential)}\n`).join('')}`,
      )
    return exit.done
  }
  if (!values.yes && !(await confirmed(request, client.revokeMatching, io))) {
    io.stderr('nothing was ended\n')
    return exit.usage
  }
  const result = await client.revokeMatching(request)
  return report(values.json ? result : undefined, result.grants, io)
}

function toRequest(
  values: Partial<Record<(typeof matchers)[number] | 'reason', string | undefined>>,
  given: readonly (typeof matchers)[number][],
): RevocationRequest {
  if (values.reason === undefined) throw new UsageError('--reason is missing: the record must say why')
  const [name] = given
  const match = name === undefined ? { all: true } : { [name]: values[name] }
  const parsed = revocationRequestSchema.safeParse({ match, reason: values.reason })
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new UsageError(`--${String(issue?.path.at(-1) ?? 'reason')}: ${issue?.message ?? 'not valid'}`)
}

async function confirmed(
  request: RevocationRequest,
  revokeMatching: (request: RevocationRequest) => Promise<{ matched: number }>,
  io: Io,
): Promise<boolean> {
  if (!io.isTty.stdin) throw new UsageError('there is no terminal to ask on: look with --dry-run, then use --yes')
  const { matched } = await revokeMatching({ ...request, dry_run: true })
  const answer = await io.ask(`${matched} live grants will end at once. Type yes to go on: `)
  return answer?.trim() === 'yes'
}

function report(document: unknown, ended: readonly EndedGrant[], io: Io): number {
  const failed = ended.filter(({ outcome }) => outcome === 'failed' || outcome === 'irrevocable')
  if (document !== undefined) writeJson(io, document)
  else {
    io.stdout(
      table(
        ['GRANT', 'CREDENTIAL', 'OUTCOME', 'TOOK'],
        ended.map(({ grant, credential, outcome, latency_ms }) => [grant, credential, outcome, `${latency_ms} ms`]),
      ),
    )
  }
  const passive = ended.filter(({ outcome }) => outcome === 'expires_only').length
  if (passive > 0) io.stderr(`${passive} of ${ended.length} cannot be ended and live until they expire\n`)
  if (failed.length > 0)
    io.stderr(`${failed.length} of ${ended.length} could not be ended; the broker goes on trying\n`)
  if (ended.length === 0) io.stderr('no grant matched\n')
  return failed.length > 0 ? exit.fault : exit.done
}
