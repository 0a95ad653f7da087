import { couldNotEnd, type EndedGrant } from '../../contract/grant.ts'
import { type RevocationPreview, type RevocationRequest, revocationRequestSchema } from '../../contract/revocation.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { endedTable } from '../ended-grants.ts'
import { parseOptions } from '../options.ts'
import { followOrder } from '../revocation-progress.ts'
import { printable, table } from '../terminal.ts'

const usage = `
usage: writ revoke GRANT [--reason TEXT]
       writ revoke (--workload W | --owner TEAM | --purpose P | --issuer I | --credential C | --task T | --all)
                   --reason TEXT [--hold 1h] [--dry-run] [--yes]

Ends one grant, or with one of the options every live grant that matches: the kill switch, for operators and the owner
concerned. While that is under way nothing that matches is issued or renewed. It waits until Vault has really ended each
secret and says how long that took. The order stands whatever happens to this command: "writ revocations" shows it.

  --reason TEXT       for the record; needed for the kill switch
  --hold 1h           issue nothing that matches for so long after everything has ended (at most 168h); "writ
                      revocations ID --lift" ends that
  --dry-run           only say which grants would end
  --yes               do not ask; needed where there is no terminal
  --json              one document; for the kill switch a line each time it has come further, the last one with
                      every grant
${clientHelp}

Exit status 1 when a secret could not be ended yet; the broker goes on trying.

examples:
  writ revoke gr_01jd2k… --reason "found in a log"
  writ revoke --issuer cluster-eu --reason "signing key leaked" --dry-run
  writ revoke --workload checkout --reason "its image is compromised" --hold 4h
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
      hold: { type: 'string' },
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
    if (values.hold !== undefined) throw new UsageError('--hold goes with --workload, --owner, … or --all')
    const ended = await client.revoke(grant, values.reason)
    if (values.json) writeJson(io, ended)
    return reportEnded([ended], 1, io, values.json === true)
  }
  const request = toRequest(values, given)
  if (values['dry-run']) {
    const preview = await client.previewRevocation(request)
    if (values.json) writeJson(io, preview)
    else io.stdout(previewText(preview))
    return exit.done
  }
  if (!values.yes && !(await confirmed(request, client.previewRevocation, io))) {
    io.stderr('nothing was ended\n')
    return exit.usage
  }
  const order = await followOrder(client, await client.revokeMatching({ ...request, wait: '1s' }), io, values.json)
  if (values.json) writeJson(io, order)
  const status = reportEnded(order.grants, order.matched, io, values.json === true)
  if (order.status === 'open') {
    io.stderr(
      `${order.matched - order.done} of ${order.matched} have not ended; the broker goes on trying: writ revocations ${order.revocation}\n`,
    )
  }
  const { holding, until } = order.hold
  if (order.status === 'open') io.stderr('nothing that matches is issued until they have\n')
  else if (holding && until !== null) io.stderr(`nothing that matches is issued until ${until}\n`)
  return order.status === 'open' ? exit.fault : status
}

function toRequest(
  values: Partial<Record<(typeof matchers)[number] | 'reason' | 'hold', string | undefined>>,
  given: readonly (typeof matchers)[number][],
): Omit<RevocationRequest, 'dry_run'> {
  if (values.reason === undefined) throw new UsageError('--reason is missing: the record must say why')
  const [name] = given
  const match = name === undefined ? { all: true } : { [name]: values[name] }
  const hold = values.hold === undefined ? {} : { hold: values.hold }
  const parsed = revocationRequestSchema.safeParse({ match, reason: values.reason, ...hold })
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new UsageError(`--${String(issue?.path.at(-1) ?? 'reason')}: ${issue?.message ?? 'not valid'}`)
}

async function confirmed(
  request: Omit<RevocationRequest, 'dry_run'>,
  preview: (request: Omit<RevocationRequest, 'dry_run'>) => Promise<RevocationPreview>,
  io: Io,
): Promise<boolean> {
  if (!io.isTty.stdin) throw new UsageError('there is no terminal to ask on: look with --dry-run, then use --yes')
  const { matched, revocable } = await preview(request)
  const passive = matched - revocable
  const rest = passive === 0 ? '' : ` (${passive} of them live until they expire)`
  const answer = await io.ask(`${matched} live grants will end at once${rest}. Type yes to go on: `)
  return answer?.trim() === 'yes'
}

function previewText({ matched, revocable, grants }: RevocationPreview): string {
  const passive = matched - revocable
  const rows = grants.map(({ grant, workload, purpose, credential, revocable: can, expires_at }) => [
    grant,
    workload,
    purpose,
    credential,
    can ? 'revoked' : `lives until ${expires_at ?? 'it is changed'}`,
  ])
  const more = matched > grants.length ? `and ${matched - grants.length} more\n` : ''
  const lasting = passive === 0 ? '' : `${passive} of them cannot be ended before they expire\n`
  return `${matched} grants would end\n${lasting}${table(['GRANT', 'WORKLOAD', 'PURPOSE', 'CREDENTIAL', 'WOULD BE'], rows)}${more}`
}

/** `matched` may be more than are shown. */
function reportEnded(ended: readonly EndedGrant[], matched: number, io: Io, quiet: boolean): number {
  if (!quiet) {
    io.stdout(endedTable(ended))
    if (matched > ended.length) io.stdout(`and ${matched - ended.length} more\n`)
  }
  const passive = ended.filter(({ outcome }) => outcome === 'expires_only').length
  const failed = ended.filter(couldNotEnd).length
  if (passive > 0) io.stderr(`${passive} of ${ended.length} cannot be ended and live until they expire\n`)
  if (failed > 0)
    io.stderr(printable(`${failed} of ${ended.length} could not be ended; the broker goes on trying\n`, true))
  if (ended.length === 0) io.stderr('no grant matched\n')
  return failed > 0 ? exit.fault : exit.done
}
