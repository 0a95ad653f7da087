import { timeText } from '../contract/fields.ts'
import type { GrantView } from '../contract/grant.ts'
import type { Grant } from '../grants/grant.ts'

const timeOrNull = (ms: number | undefined): string | null => (ms === undefined ? null : timeText(ms))

/** When the secret itself dies; null for one that outlives its grant. */
export const expiryOf = (grant: Grant): string | null => (grant.static ? null : timeOrNull(grant.expiresAtMs))

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
  ids: grant.ids.map(({ type, value }) => ({ type, value })),
  ledger: {
    intent: grant.ledger.intent,
    issued: grant.ledger.issued ?? null,
    ended: grant.ledger.ended ?? null,
  },
})
