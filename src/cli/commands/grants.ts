import type { GrantView } from '../../contract/grant.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import type { BrokerClient } from '../http-client.ts'
import { parseOptions } from '../options.ts'
import { table } from '../terminal.ts'

const usage = `
usage: writ grants [GRANT] [options]

Lists grants, live ones unless told otherwise, or shows one. A workload sees its own, an owner those of its team,
operators and auditors all.

  --workload W  --purpose P  --owner TEAM  --credential C  --task T
                      only grants with this; options add up
  --status S          live (default), ended, all, or expires_only: ended, and the secret works until it expires
  --limit N           at most this many (default 1000)
  --json              {"grants":[…],"next":…}; next is null when that was all
${clientHelp}

examples:
  writ grants --workload checkout
  writ grants --status all --owner payments --json
`

/** `writ grants`: who holds what. */
export const grantsCommand: Command = { name: 'grants', summary: 'list grants', usage, run }

const largestPage = 500

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      ...clientOptions,
      workload: { type: 'string' },
      purpose: { type: 'string' },
      owner: { type: 'string' },
      credential: { type: 'string' },
      task: { type: 'string' },
      status: { type: 'string' },
      limit: { type: 'string' },
      json: { type: 'boolean' },
    },
    ['[GRANT]'],
  )
  const { workload, purpose, owner, credential, task, status = 'live' } = values
  if (!['live', 'ended', 'all', 'expires_only'].includes(status)) {
    throw new UsageError('--status is live, ended, all or expires_only')
  }
  const limit = Number(values.limit ?? 1000)
  if (!Number.isInteger(limit) || limit < 1) throw new UsageError('--limit is a whole number above 0')
  const client = connect(values, io)
  const [id] = positionals
  if (id !== undefined) {
    const grant = await client.grant(id)
    if (values.json) writeJson(io, grant)
    else io.stdout(listing([grant]))
    return exit.done
  }
  const filter = Object.entries({ workload, purpose, owner, credential, task, status })
  const given = Object.fromEntries(filter.filter((pair): pair is [string, string] => pair[1] !== undefined))
  const { grants, next } = await collect(client, given, limit)
  if (values.json) {
    writeJson(io, { grants, next })
    return exit.done
  }
  io.stdout(listing(grants))
  if (grants.length === 0) io.stderr('no grants\n')
  if (next !== null) io.stderr(`there are more; --limit ${limit * 2} shows some of them\n`)
  return exit.done
}

async function collect(
  client: BrokerClient,
  filter: Readonly<Record<string, string>>,
  limit: number,
): Promise<{ grants: GrantView[]; next: string | null }> {
  const grants: GrantView[] = []
  let next: string | null = null
  do {
    const size = String(Math.min(largestPage, limit - grants.length))
    const page = await client.grants({ ...filter, limit: size, ...(next === null ? {} : { after: next }) })
    grants.push(...page.grants)
    next = page.next
  } while (next !== null && grants.length < limit)
  return { grants, next }
}

function listing(grants: readonly GrantView[]): string {
  return table(
    ['GRANT', 'STATUS', 'WORKLOAD', 'PURPOSE', 'CREDENTIAL', 'ENVIRONMENT', 'EXPIRES', 'TASK', 'IDS'],
    grants.map((grant) => [
      grant.grant,
      statusOf(grant),
      grant.workload,
      grant.purpose,
      grant.credential,
      grant.environment,
      grant.expires_at ?? 'never',
      grant.task ?? '-',
      grant.ids.map(({ value }) => value).join(', '),
    ]),
  )
}

function statusOf({ status, outcome, works_until }: GrantView): string {
  if (outcome === null) return status
  return works_until === null ? `${status} (${outcome})` : `${status} (${outcome}, works until ${works_until})`
}
