import { sha256Hex } from '../base/digest.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import { each, type Several } from '../base/several.ts'
import type { CredentialRequest } from '../contract/credential.ts'
import { timeText } from '../contract/fields.ts'
import type { Approvals } from '../grants/approvals.ts'
import type { Decision } from '../policy/decision.ts'
import type { Pending } from './caller.ts'
import type { Part } from './composite.ts'
import type { Entered } from './desk.ts'

/** The way is clear; `approval` is the one that was spent for it, and absent where none was needed. */
export interface Clear {
  readonly status: 'clear'
  readonly approval?: string
}

/**
 * Lets a request pass that policy allows outright or that a person has approved; else answers with the approval to wait for.
 * An approval is for one exact request of one workload under the rules it was asked under: any other field, other approvers,
 * a second person now asked for, or another role behind the credential's name, and it is worth nothing. Nor is one on which a
 * person said yes who has left since.
 * One yes stands for all the parts of a request together.
 * What was given for the last use of the same Idempotency-Key is good for the same request once more: what that issued ends first.
 */
export async function gateOf(
  approvals: Pick<Approvals, 'ask' | 'get' | 'use' | 'useAgain'> & { hasLeft(person: string): boolean },
  entered: Entered,
  parts: Several<Part>,
  request: CredentialRequest,
): Promise<Result<Clear | Pending>> {
  const rule = strictestOf(parts)
  if (rule === undefined) return ok({ status: 'clear' })
  const [{ access, wanted }] = parts
  const digest = requestDigest(parts, rule, entered.holder)
  if (request.approval !== undefined) {
    const given = await approvals.get(request.approval)
    if (given?.workload === access.workload && given.approvedBy.some(approvals.hasLeft))
      return refuse('approval_denied', 'approval.approver', 'a person who said yes has left')
    const again = wanted.retry?.before.some(({ approval }) => approval === request.approval) === true
    const used = again
      ? await approvals.useAgain(request.approval, digest, access.workload)
      : await approvals.use(request.approval, digest, access.workload, entered.by)
    return used.ok ? ok({ status: 'clear', approval: used.value.id }) : used
  }
  const accesses = each(parts, (part) => part.access)
  const asked = await approvals.ask(accesses, {
    ...rule,
    digest,
    requester: entered.party.name,
    reason: wanted.reason,
    by: entered.by,
  })
  if (!asked.ok) return asked
  const approval = asked.value
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

type Rule = Pick<Extract<Decision, { effect: 'needs_approval' }>, 'level' | 'approvers'>

/** Who must say yes, and how many; `undefined` when no part asks for it. */
function strictestOf(parts: Several<Part>): Rule | undefined {
  const rules = parts.flatMap(({ decision }) => (decision.effect === 'needs_approval' ? [decision] : []))
  const strictest = rules.find(({ level }) => level === 'two-person') ?? rules[0]
  return strictest && { level: strictest.level, approvers: strictest.approvers }
}

/** Names one exact request, in a fixed order: everything the caller chose, and what policy made of it. */
function requestDigest(parts: Several<Part>, rule: Rule, holder: Entered['holder']): string {
  const [first, ...others] = each(parts, (part) => partDigest(part, rule, holder))
  return others.length === 0 ? first : sha256Hex(JSON.stringify([first, ...others]))
}

function partDigest({ access, wanted }: Part, { level, approvers }: Rule, holder: Entered['holder']): string {
  const { engine, mount, role } = access.target
  const params = Object.entries(wanted.params).sort(([a], [b]) => (a < b ? -1 : 1))
  return sha256Hex(
    JSON.stringify([
      access.workload,
      wanted.purpose,
      access.credential,
      wanted.ttlSeconds ?? null,
      wanted.reason,
      wanted.task,
      // As it will travel: what was approved for one key is neither collected with another nor in the open.
      access.delivery === 'jwe' ? ['jwe', holder?.jkt] : access.delivery,
      params,
      [level, approvers, access.owner, access.environment, engine, mount, role],
    ]),
  )
}
