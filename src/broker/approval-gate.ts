import { sha256Hex } from '../base/digest.ts'
import { ok, type Result } from '../base/result.ts'
import type { CredentialRequest } from '../contract/credential.ts'
import { timeText } from '../contract/fields.ts'
import type { Approvals } from '../grants/approvals.ts'
import type { AccessRequest, Decision } from '../policy/decision.ts'
import type { Pending } from './caller.ts'
import type { Entered } from './desk.ts'

/**
 * Lets a request pass that policy allows outright or that a person has approved; else answers with the approval to wait for.
 * An approval is for one exact request of one workload: any other field, and it is worth nothing.
 */
export async function gateOf(
  approvals: Approvals,
  entered: Entered,
  decision: Exclude<Decision, { effect: 'deny' }>,
  wanted: AccessRequest,
  request: CredentialRequest,
): Promise<Result<{ readonly status: 'clear' } | Pending>> {
  if (decision.effect === 'allow') return ok({ status: 'clear' })
  const { access, level, approvers } = decision
  const digest = requestDigest(access.workload, access.credential, wanted)
  if (request.approval !== undefined) {
    const used = await approvals.use(request.approval, digest, access.workload, entered.by)
    return used.ok ? ok({ status: 'clear' }) : used
  }
  const approval = await approvals.ask(access, {
    level,
    approvers,
    digest,
    requester: entered.party.name,
    reason: wanted.reason,
    by: entered.by,
  })
  return ok({
    status: 'pending',
    body: {
      approval: approval.id,
      status: 'pending',
      approvers: [...approval.approvers],
      expires_at: timeText(approval.expiresAtMs),
      poll: `/v1/approvals/${approval.id}`,
    },
  })
}

/** Names one exact request: everything the caller chose, in a fixed order. */
function requestDigest(workload: string, credential: string, wanted: AccessRequest): string {
  const params = Object.entries(wanted.params).sort(([a], [b]) => (a < b ? -1 : 1))
  return sha256Hex(
    JSON.stringify([
      workload,
      wanted.purpose,
      credential,
      wanted.ttlSeconds ?? null,
      wanted.reason,
      wanted.task,
      wanted.delivery ?? null,
      params,
    ]),
  )
}
