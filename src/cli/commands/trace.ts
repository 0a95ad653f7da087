import type { Trace, TracedGrant } from '../../contract/trace.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import type { BrokerClient } from '../http-client.ts'
import { parseOptions } from '../options.ts'
import { printable } from '../terminal.ts'
import { traceCandidates } from '../trace-candidates.ts'

const usage = `
usage: writ trace FOUND [--kill --reason TEXT] [options]

From something that turned up in a leak or an incident to whoever answers for it: the workload and its purpose, the accountable
team and how to reach it, who approved, the task, what data it reached, and when it ends. From the record, however old.

FOUND is a database user, a certificate serial (in any spelling), an SSH key id or serial, a Vault token, an access token or a workload
token, a lease id, the thumbprint of a key, or the id of a grant, a task, an approval, a set, an order or a request.
Tokens and leases are hashed on this machine and not sent. \`-\` reads FOUND from standard input, out of the list of processes.

  --kill              end every grant that is found and lives still; for operators and the owner
  --reason TEXT       why, for the record
  --json              one document
${clientHelp}

examples:
  writ trace v-token-orders-r-8lW32oaPQKjeiuLRQtu1-1795564021
  writ trace - --kill --reason "found in a public repository" < leaked-token
`

/** `writ trace`: from what was found to whoever answers for it. */
export const traceCommand: Command = {
  name: 'trace',
  summary: 'from a leaked user, certificate, key or token to whoever answers for it',
  usage,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    { ...clientOptions, kill: { type: 'boolean' }, reason: { type: 'string' }, json: { type: 'boolean' } },
    ['FOUND'],
  )
  if (values.reason !== undefined && !values.kill) throw new UsageError('--reason goes with --kill')
  const [given = ''] = positionals
  const client = connect(values, io)
  const traced = await firstThatLeads(client, traceCandidates(given === '-' ? await io.readStdin() : given))
  const killed = values.kill ? await kill(client, traced.grants, values.reason) : []
  if (values.json) writeJson(io, values.kill ? { ...traced, killed } : traced)
  else {
    for (const grant of traced.grants) io.stdout(`${told(grant)}\n`)
    for (const { grant, outcome } of killed) io.stdout(`${grant}: ${outcome}\n`)
  }
  if (traced.more)
    io.stderr(`there are more grants than are listed${values.kill ? '; ask again to end those too' : ''}\n`)
  if (traced.grants.length > 0) return exit.done
  io.stderr('nothing on record leads from that to a grant that you may see\n')
  return exit.fault
}

async function firstThatLeads(client: BrokerClient, candidates: readonly string[]): Promise<Trace> {
  let last: Trace = { q: '', grants: [], more: false }
  for (const q of candidates) {
    last = await client.trace(q)
    if (last.grants.length > 0) return last
  }
  return last
}

async function kill(
  client: BrokerClient,
  grants: readonly TracedGrant[],
  reason: string | undefined,
): Promise<readonly { readonly grant: string; readonly outcome: string }[]> {
  const live = grants.filter(({ ended_at: ended, issued_at: issued }) => ended === null && issued !== null)
  return Promise.all(
    live.map(async ({ grant }) => ({ grant, outcome: (await client.revoke(grant, reason ?? 'traced')).outcome })),
  )
}

function told(found: TracedGrant): string {
  const contact = found.contact === null ? '' : ` (${Object.values(found.contact).join(', ')})`
  const lines: readonly (readonly [string, string | null | undefined])[] = [
    ['grant', found.grant],
    ['workload', found.workload],
    [
      'purpose',
      `${found.purpose}${found.because === null ? ', which the policies no longer have' : `: ${found.because}`}`,
    ],
    ['environment', found.environment],
    ['owner', `${found.owner}${contact}`],
    ['backup', found.backup],
    ['approved by', found.approval?.by.map(({ subject, at }) => `${subject} at ${at}`).join(', ')],
    ['exception', found.exception],
    ['task', found.task && `${found.task.task}${found.task.intent === null ? '' : `: ${found.task.intent}`}`],
    ['reason', found.reason],
    ['asked by', found.asked_by && `${found.asked_by.issuer}/${found.asked_by.subject}`],
    ['credential', `${found.credential}, sensitivity ${found.sensitivity}`],
    ['reaches', found.data.join(', ')],
    ['known as', found.ids.map(({ type, value }) => `${type} ${value}`).join(', ')],
    ['issued', found.issued_at],
    ['ends', endOf(found)],
    ['proof', `writ ledger prove ${found.ledger.at(-1) ?? ''}`],
  ]
  return lines
    .filter(([, value]) => (value ?? '') !== '')
    .map(([name, value]) => `${name.padEnd(13)}${printable(value ?? '')}\n`)
    .join('')
}

function endOf({ ended_at: ended, outcome, expires_at: expires, revocable }: TracedGrant): string {
  if (ended !== null) return `${outcome ?? 'ended'} at ${ended}`
  const nothing = revocable === false ? ', and nothing ends it before' : ''
  return expires === null ? 'it does not end by itself' : `${expires}${nothing}`
}
