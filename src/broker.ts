import { newId } from './base/ids.ts'
import { ok, type Result, refuse } from './base/result.ts'
import type { Caller, Issued, Pending } from './broker/caller.ts'
import { type BrokerDeps, createStages } from './broker/stages.ts'
import { createVerbs, type Verbs } from './broker/verbs.ts'
import type { CredentialRequest } from './contract/credential.ts'
import type { Renewed } from './contract/grant.ts'
import { openGrant } from './grants/grant.ts'

export type { Caller, Issued, Pending } from './broker/caller.ts'

/**
 * What anyone can ask of the broker. Every verb verifies the caller, refuses by value, records what it did, and throws
 * `BrokerFault` when something it needs failed.
 */
export interface Broker extends Verbs {
  /** `key` is the caller's Idempotency-Key: with it, a retry after a lost answer replaces the grant that nobody has seen. */
  issue(caller: Caller, request: CredentialRequest, key?: string): Promise<Result<Issued | Pending>>
  renew(caller: Caller, id: string, ttl: string | undefined): Promise<Result<Renewed>>
}

/** The broker over its stages; see `issue` for the life of one request. */
export function createBroker(deps: BrokerDeps): Broker {
  const stages = createStages(deps)
  const { desk, trace } = stages

  /** token → identity → decision → (hold) → (task) → (approval) → grant → intent → mint → record → (receipt) → answer. */
  async function issue(caller: Caller, request: CredentialRequest, key?: string): Promise<Result<Issued | Pending>> {
    const entered = await desk.enter(caller, { purpose: request.purpose })
    if (!entered.ok) return entered
    const { by } = entered.value

    const asked = await stages.wanted(entered.value, request, caller, key)
    if (!asked.ok) return desk.refused(entered.value, asked.refusal, { purpose: request.purpose })

    const decision = await trace('policy.decide', {}, () => stages.decide(entered.value, asked.value))
    if (decision.effect === 'deny') {
      // Also a purpose that policy does not know is on record: whoever changes the policies sees what was asked for.
      const { purpose, credential } = request
      return desk.refused(entered.value, decision.refusal, {
        purpose,
        ...(credential && { credential }),
        ...decision.subject,
      })
    }
    const { access } = decision

    const free = stages.notHeld(entered.value, access, asked.value)
    if (!free.ok) return desk.refused(entered.value, free.refusal, access)

    const wanted = await stages.inTask(entered.value, asked.value)
    if (!wanted.ok) return desk.refused(entered.value, wanted.refusal, access)

    const gate = await stages.approval(entered.value, decision, wanted.value, request)
    if (!gate.ok) return desk.refused(entered.value, gate.refusal, access)
    if (gate.value.status === 'pending') return ok(gate.value)

    const opening = openGrant(
      newId('gr', deps.clock.now()),
      access,
      stages.originOf(entered.value, wanted.value, access, gate.value),
      deps.clock.now(),
    )
    const opened = await trace('grants.open', { 'writ.grant': opening.id }, () =>
      stages.open(opening, access, wanted.value, entered.value),
    )
    if (!opened.ok) return desk.refused(entered.value, opened.refusal, access)

    const intent = await trace('ledger.intent', { 'writ.grant': opening.id }, () =>
      stages.recordIntent(opened.value, access, by),
    )
    const issued = await stages.proved(await stages.mint(intent, access, wanted.value.params, entered.value), request)
    const held = await stages.stillWanted(entered.value, issued.grant)
    if (!held.ok) return desk.refused(entered.value, held.refusal, access)
    return ok({ status: 'issued', body: stages.issuedBody(issued, access), secret: issued.minted.secret })
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
