import type { RevocationId } from '../base/ids.ts'
import type { Entry } from '../ledger/entry.ts'
import type { MatchBy } from './holds.ts'
import type { OrderRecord } from './orders.ts'

/** Follows the orders to revoke through the entries of the ledger. */
export function applyToOrders(orders: Map<string, OrderRecord>, entry: Entry): void {
  const id = entry.revocation ?? ''
  const atMs = Date.parse(entry.time)
  const known = orders.get(id)
  switch (entry.kind) {
    case 'revocation.ordered': {
      const { actor, request, trace, token, policy } = entry
      orders.set(id, {
        id: id as RevocationId,
        by: entry.match,
        name: nameIn(entry, entry.match),
        teams: entry.teams,
        reason: entry.reason,
        orderedBy: { actor, request, trace, token, policy },
        orderedAtMs: atMs,
        holdSeconds: entry.hold,
        matched: entry.grants,
        completedAtMs: undefined,
        holdUntilMs: undefined,
        liftedAtMs: undefined,
      })
      return
    }
    case 'revocation.completed':
      if (known === undefined) return
      orders.set(id, {
        ...known,
        completedAtMs: atMs,
        holdUntilMs: entry.expires === undefined ? undefined : Date.parse(entry.expires),
      })
      return
    case 'revocation.lifted':
      if (known !== undefined) orders.set(id, { ...known, liftedAtMs: atMs })
      return
    default:
  }
}

const nameIn = (entry: Extract<Entry, { kind: 'revocation.ordered' }>, by: MatchBy): string =>
  by === 'all' ? '' : (entry[by] ?? '')
