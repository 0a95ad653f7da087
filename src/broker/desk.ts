import { sha256Hex } from '../base/digest.ts'
import { ok, type Refusal, type Result } from '../base/result.ts'
import type { Trace } from '../base/trace.ts'
import type { Party } from '../grants/authority.ts'
import { byCaller, type Provenance } from '../grants/provenance.ts'
import type { Holder } from '../identity/holder.ts'
import type { Identity } from '../identity/identity.ts'
import type { Proofs } from '../identity/proof.ts'
import { claimUse } from '../identity/replay.ts'
import type { Verifier } from '../identity/verify.ts'
import type { Refusals } from '../ledger/refusals.ts'
import type { PolicySet } from '../policy/compile.ts'
import type { Subject } from '../policy/decision.ts'
import { personOf, workloadsOf } from '../policy/parties.ts'
import type { Signals } from '../signals/signals.ts'
import type { State } from '../state/state.ts'
import type { Caller } from './caller.ts'

/** A caller whose token was verified, under the policies that were in force at that moment. */
export interface Entered {
  readonly identity: Identity
  readonly party: Party
  readonly policies: PolicySet
  /** The key that the caller has proved it holds, where it sent a proof. */
  readonly holder?: Holder
  /** Who did it, for every entry this call causes. */
  readonly by: Provenance
}

/** The front desk: who calls, and the record of those who were turned away. */
export interface Desk {
  /** Verifies the token, and the proof where one is sent or needed, and counts the use of both. A refusal is already recorded. */
  enter(caller: Caller, use?: { purpose: string }): Promise<Result<Entered>>
  /** Records a refusal and returns it. */
  refused(
    entered: Entered,
    refusal: Refusal,
    subject?: Subject & { grant?: string; task?: string; approval?: string },
  ): Promise<Refused>
}
type Refused = { readonly ok: false; readonly refusal: Refusal }

interface Deps {
  readonly verifier: Verifier
  readonly proofs: Proofs
  readonly state: State
  readonly refusals: Refusals
  readonly signals: Pick<Signals, 'check'>
  readonly policies: () => PolicySet
  readonly trace: Trace
}

export function createDesk({ verifier, proofs, state, refusals, signals, policies, trace }: Deps): Desk {
  return {
    async enter(caller, use) {
      const verified = await trace('identity.verify', {}, () => verifier.verify(caller.token))
      if (!verified.ok) {
        const about = { request: caller.requestId, policy: policies().digest, purpose: use?.purpose }
        // Whoever sends the same worthless token again is recognised by it.
        const token = caller.token === '' ? undefined : sha256Hex(caller.token)
        await refusals.record({ actor: { type: 'unproved' }, ...about, token }, verified.refusal)
        return verified
      }
      const identity = verified.value
      const set = policies()
      const introduced = { identity, policies: set, ...introduce(identity, set, caller) }
      const proved = await trace('identity.proof', {}, () => proofs.check(caller.proof, caller.token, identity))
      if (!proved.ok) {
        await refusals.record({ ...introduced.by, purpose: use?.purpose }, proved.refusal)
        return proved
      }
      const entered = proved.value === undefined ? introduced : heldBy(proved.value, introduced)
      const trusted = await signals.check(identity)
      if (!trusted.ok) {
        await refusals.record({ ...entered.by, purpose: use?.purpose }, trusted.refusal)
        return trusted
      }
      const fresh = await claimUse(state, identity, use ?? {})
      if (!fresh.ok) {
        await refusals.record({ ...entered.by, purpose: use?.purpose }, fresh.refusal)
        return fresh
      }
      return ok(entered)
    },
    async refused(entered, refusal, subject = {}) {
      // Named one by one: what is passed may know more than an entry has fields for.
      const { workload, owner, purpose, environment, credential, grant, task, approval } = subject
      const about = { workload, owner, purpose, environment, credential, grant, task, approval }
      await refusals.record({ ...entered.by, ...about }, refusal)
      return { ok: false, refusal }
    },
  }
}

const heldBy = (holder: Holder, entered: Entered): Entered => ({
  ...entered,
  holder,
  by: { ...entered.by, jkt: holder.jkt },
})

/** What the policies say the token's bearer is. Two matching workloads are nobody: `decide` names them. */
function introduce(identity: Identity, set: PolicySet, caller: Caller): { party: Party; by: Provenance } {
  const names = workloadsOf(set, identity)
  const workload = names.length === 1 ? names[0] : undefined
  const person = personOf(set, identity)
  const party: Party = { workload, person, name: `${identity.issuer}/${identity.subject}` }
  const by = byCaller(
    identity,
    { ...(workload === undefined ? {} : { workload }), ...(person === undefined ? {} : { teams: person.teams }) },
    caller.requestId,
  )
  const known = workload !== undefined || person !== undefined
  const actor = known ? by.actor : ({ type: 'unproved', issuer: identity.issuer } as const)
  return { party, by: { ...by, actor, policy: set.digest } }
}
