import type { IssuedCredential } from '../contract/credential.ts'
import { timeText } from '../contract/fields.ts'
import type { GrantView } from '../contract/grant.ts'
import type { RevocationList, RevocationView } from '../contract/revocation.ts'
import type { Rotation } from '../engines/engine.ts'
import { endedView } from '../grants/end.ts'
import { type Grant, worksUntil } from '../grants/grant.ts'
import type { Order } from '../grants/orders.ts'

const timeOrNull = (ms: number | undefined): string | null => (ms === undefined ? null : timeText(ms))

/** When the secret itself dies; null for one that outlives its grant. */
export const expiryOf = (grant: Grant): string | null => (grant.static ? null : timeOrNull(grant.expiresAtMs))

/** How long a secret has stood and will, as the wire and the ledger write it. */
export const rotationText = (rotation: Rotation): NonNullable<IssuedCredential['rotation']> => ({
  ...(rotation.everySeconds !== undefined && { every: Math.round(rotation.everySeconds) }),
  rotated_at: timeText(rotation.rotatedAtMs),
  ...(rotation.rotatesAtMs !== undefined && { rotates_at: timeText(rotation.rotatesAtMs) }),
})

function worksUntilText(grant: Grant): string | null {
  const works = worksUntil(grant)
  return works === 'rotated' ? works : timeOrNull(works)
}

/** A grant for the wire: neither the lease nor anything else that could act on the secret. */
export const grantView = (grant: Grant): GrantView => ({
  grant: grant.id,
  status: grant.status,
  outcome: grant.outcome ?? null,
  workload: grant.workload,
  owner: grant.owner,
  purpose: grant.purpose,
  environment: grant.environment,
  credential: grant.credential,
  task: grant.task ?? null,
  opened_at: timeText(grant.openedAtMs),
  issued_at: timeOrNull(grant.issuedAtMs),
  expires_at: expiryOf(grant),
  ended_at: timeOrNull(grant.endedAtMs),
  renewable: grant.renewable,
  revocable: grant.revocable,
  works_until: worksUntilText(grant),
  revocation: (grant.revocation as GrantView['revocation'] | undefined) ?? null,
  ids: grant.ids.map(({ type, value }) => ({ type, value })),
  ledger: {
    intent: grant.ledger.intent,
    issued: grant.ledger.issued ?? null,
    ended: grant.ledger.ended ?? null,
  },
})

/** An order for the wire, without its grants. */
export const revocationSummary = (order: Order, holding: boolean): RevocationList['revocations'][number] => ({
  revocation: order.id,
  status: order.completedAtMs === undefined ? 'open' : 'completed',
  match: order.by === 'all' ? { all: true } : { [order.by]: order.name },
  teams: order.teams === undefined ? null : [...order.teams],
  reason: order.reason,
  ordered_at: timeText(order.orderedAtMs),
  completed_at: timeOrNull(order.completedAtMs),
  hold: {
    holding,
    seconds: order.holdSeconds,
    until: timeOrNull(order.holdUntilMs),
    lifted_at: timeOrNull(order.liftedAtMs),
  },
  matched: order.matched,
  done: order.done,
  tried: order.tried,
  outcomes: Object.fromEntries(order.outcomes),
  dry_run: false,
})

/** The same with what ending each of these grants came to. */
export function revocationView(
  order: Order,
  holding: boolean,
  grants: readonly Grant[],
  nowMs: number,
): RevocationView {
  return { ...revocationSummary(order, holding), grants: grants.map((grant) => endedView(grant, nowMs)) }
}
