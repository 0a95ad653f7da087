import { ok, type Refusal, type Result, refuse } from './base/result.ts'
import { eachSoon } from './base/several.ts'
import type { Caller, Issued, IssuedSet, Pending } from './broker/caller.ts'
import { allAllowed, answerOf, refusedAll, spanOf } from './broker/composite.ts'
import { type BrokerDeps, createStages } from './broker/stages.ts'
import { createVerbs, type Verbs } from './broker/verbs.ts'
import type { CredentialRequest } from './contract/credential.ts'
import type { Renewed } from './contract/grant.ts'

export type { Caller, Issued, IssuedSet, Pending } from './broker/caller.ts'

/**
 * What anyone can ask of the broker. Every verb verifies the caller, refuses by value, records what it did, and throws
 * `BrokerFault` when something it needs failed.
 */
export interface Broker extends Verbs {
  /** `key` is the caller's Idempotency-Key: with it, a retry after a lost answer replaces what nobody has seen. */
  issue(caller: Caller, request: CredentialRequest, key?: string): Promise<Result<Issued | IssuedSet | Pending>>
  renew(caller: Caller, id: string, ttl: string | undefined): Promise<Result<Renewed>>
}

/** The broker over its stages; see `issue` for the life of one request. */
export function createBroker(deps: BrokerDeps): Broker {
  const stages = createStages(deps)
  const { desk, trace } = stages

  /**
   * token → identity → decision → (hold) → (task) → (approval) → grant → intent → mint → record → (receipt) → answer. Each part of the
   * request, and most have one, goes through a stage before any goes through the next.
   */
  async function issue(
    caller: Caller,
    request: CredentialRequest,
    key?: string,
  ): Promise<Result<Issued | IssuedSet | Pending>> {
    const entered = await desk.enter(caller, { purpose: request.purpose })
    if (!entered.ok) return entered
    const { by } = entered.value

    const asked = await stages.wanted(entered.value, request, caller, key)
    if (!asked.ok) return desk.refused(entered.value, asked.refusal, { purpose: request.purpose })

    const decisions = await trace('policy.decide', {}, () => stages.decide(entered.value, asked.value))
    const allowed = await allAllowed(desk, entered.value, asked.value, decisions)
    if (!allowed.ok) return allowed
    const refused = (refusal: Refusal) => refusedAll(desk, entered.value, allowed.value, refusal)

    const free = stages.notHeld(entered.value, allowed.value)
    if (!free.ok) return refused(free.refusal)

    const parts = await stages.inTask(entered.value, allowed.value)
    if (!parts.ok) return refused(parts.refusal)

    const gate = await stages.approval(entered.value, parts.value, request)
    if (!gate.ok) return refused(gate.refusal)
    if (gate.value.status === 'pending') return ok(gate.value)

    const openings = stages.openings(entered.value, parts.value, gate.value)
    const opened = await trace('grants.open', spanOf(openings), () => stages.open(openings, entered.value))
    if (!opened.ok) return refused(opened.refusal)

    const intended = await trace('ledger.intent', spanOf(openings), () => stages.recordIntents(opened.value, by))
    const issued = await eachSoon(await stages.mint(intended, entered.value), (part) => stages.proved(part, request))
    const held = await stages.stillWanted(entered.value, issued)
    if (!held.ok) return refused(held.refusal)
    return ok(answerOf(issued, stages.issuedBody))
  }

  /** A fresh token and a fresh decision under the policy of now; when the reason is gone, so is the credential. */
  async function renew(caller: Caller, id: string, ttl: string | undefined): Promise<Result<Renewed>> {
    const entered = await desk.enter(caller)
    if (!entered.ok) return entered

    const held = await stages.heldGrant(entered.value, id)
    if (!held.ok) return desk.refused(entered.value, held.refusal, { grant: id })
    const grant = held.value

    const decision = await trace('policy.decide', {}, () => stages.decideAgain(entered.value, grant, ttl, caller))
    if (decision.effect === 'deny') {
      await stages.ender.end(grant, { cause: 'policy_changed', by: entered.value.by })
      return desk.refused(entered.value, decision.refusal, { ...decision.subject, grant: id })
    }
    if (decision.effect === 'needs_approval' && grant.approval === undefined) {
      const asked = refuse('approval_denied', 'approval', 'it was issued without the approval that policy asks for now')
      return desk.refused(entered.value, asked.refusal, { ...decision.access, grant: id })
    }
    return trace('engine.renew', { 'writ.grant': grant.id }, () =>
      stages.renew(grant, decision.access, entered.value.by),
    )
  }

  return { issue, renew, ...createVerbs(stages) }
}
