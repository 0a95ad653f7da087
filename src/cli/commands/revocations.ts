import type { RevocationList } from '../../contract/revocation.ts'
import { type Command, exit, type Io, UsageError, writeJson } from '../command.ts'
import { clientHelp, clientOptions, connect } from '../connect.ts'
import { endedTable } from '../ended-grants.ts'
import { parseOptions } from '../options.ts'
import { printable, table } from '../terminal.ts'

const usage = `
usage: writ revocations [ID] [--lift [--reason TEXT]] [options]

Lists the orders to revoke (the kill switch) that are being carried out, that hold issuance, or that were completed within
the hour; or shows one and what became of each grant. Older ones are in the ledger: writ ledger tail --kind
revocation.ordered.

  --lift              issue and renew again what the order holds; what it revokes is revoked all the same. For
                      operators, and for owners what they ordered
  --reason TEXT       for the record
  --json              one document
${clientHelp}

examples:
  writ revocations
  writ revocations rev_01jd2k…
  writ revocations rev_01jd2k… --lift --reason "rebuilt and deployed"
`

/** `writ revocations`: what was ordered to end, how far that has come, and what is held. */
export const revocationsCommand: Command = {
  name: 'revocations',
  summary: 'show orders to revoke, and lift what they hold',
  usage,
  run,
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    { ...clientOptions, lift: { type: 'boolean' }, reason: { type: 'string' }, json: { type: 'boolean' } },
    ['[ID]'],
  )
  const [id] = positionals
  if (id === undefined && values.lift) throw new UsageError('--lift needs the id of an order')
  if (values.reason !== undefined && !values.lift) throw new UsageError('--reason goes with --lift')
  const client = connect(values, io)
  if (id === undefined) {
    const list = await client.revocations()
    if (values.json) writeJson(io, list)
    else io.stdout(listing(list.revocations))
    if (list.revocations.length === 0) io.stderr('no orders\n')
    return exit.done
  }
  const order = values.lift ? await client.liftRevocation(id, values.reason) : await client.revocation(id)
  if (values.json) {
    writeJson(io, order)
    return exit.done
  }
  io.stdout(listing([order]))
  io.stdout(`\nreason: ${printable(order.reason)}\n`)
  io.stdout(endedTable(order.grants))
  return exit.done
}

function listing(orders: RevocationList['revocations']): string {
  return table(
    ['ORDER', 'STATUS', 'MATCHES', 'DONE', 'ORDERED', 'ISSUANCE'],
    orders.map(({ revocation, status, match, done, matched, ordered_at, hold }) => [
      revocation,
      status,
      Object.entries(match)
        .map(([by, name]) => (by === 'all' ? 'all' : `${by} ${name}`))
        .join(),
      `${done} of ${matched}`,
      ordered_at,
      hold.holding ? `held until ${hold.until ?? 'all have ended'}` : 'goes on',
    ]),
  )
}
