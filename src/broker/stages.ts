import { bounded } from '../base/bounded.ts'
import type { Clock } from '../base/clock.ts'
import { isId } from '../base/ids.ts'
import type { Log } from '../base/log.ts'
import { ok, type Result } from '../base/result.ts'
import type { Trace } from '../base/trace.ts'
import type { CredentialRequest } from '../contract/credential.ts'
import type { ReloadStatus } from '../contract/policy.ts'
import type { Engine } from '../engines/engine.ts'
import type { Approvals } from '../grants/approvals.ts'
import { about, type Ender } from '../grants/end.ts'
import type { Grant, GrantOrigin } from '../grants/grant.ts'
import type { Orders } from '../grants/orders.ts'
import type { Provenance } from '../grants/provenance.ts'
import type { Reconciler } from '../grants/reconcile.ts'
import type { Registry } from '../grants/registry.ts'
import type { Tasks } from '../grants/tasks.ts'
import type { Verifier } from '../identity/verify.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { PublishedLog } from '../ledger/log/published.ts'
import type { Refusals } from '../ledger/refusals.ts'
import type { Sealer } from '../ledger/seal.ts'
import type { EntryIndex } from '../ledger/search/entry-index.ts'
import type { Archive } from '../ledger/store/archive.ts'
import type { PolicySet } from '../policy/compile.ts'
import { decide } from '../policy/decide.ts'
import type { Access, AccessRequest, Counters, Decision } from '../policy/decision.ts'
import type { Signals } from '../signals/signals.ts'
import type { State } from '../state/state.ts'
import { type Clear, gateOf } from './approval-gate.ts'
import type { Pending } from './caller.ts'
import { createDelivering, type Delivering } from './delivering.ts'
import { createDesk, type Desk, type Entered } from './desk.ts'
import { heldOr } from './held.ts'
import type { Justified } from './justified.ts'
import { mintAndRecord, type Recorded } from './mint.ts'
import { createRenewing, type Renewing } from './renewing.ts'
import type { Retry } from './retry.ts'
import { createWanting, type Wanted, type Wanting } from './wanted.ts'

/** What the broker is made of; `compose.ts` picks each. */
export interface BrokerDeps {
  readonly verifier: Verifier
  readonly policies: { current(): PolicySet; reload(): Promise<ReloadStatus>; status(): ReloadStatus }
  readonly justified: Justified
  readonly state: State
  readonly ledger: Ledger & PublishedLog & Archive
  readonly entryIndex: Pick<EntryIndex, 'mayHold'>
  readonly refusals: Refusals
  readonly sealer: Sealer
  readonly engine: (kind: string) => Engine
  /** Until when Vault can keep a lease of that generation of the broker's token. */
  readonly leasesEndMs: (generation: number) => number
  readonly registry: Registry
  readonly tasks: Tasks
  readonly approvals: Approvals
  readonly orders: Orders
  readonly ender: Ender
  readonly signals: Signals
  readonly reconciler: Pick<Reconciler, 'demand' | 'status'>
  readonly clock: Clock
  readonly log: Log
  readonly trace: Trace
}

type Allowed = Exclude<Decision, { effect: 'deny' }>

/** The steps that `broker.ts` puts in order. */
export interface Stages extends BrokerDeps, Wanting, Delivering, Renewing {
  readonly desk: Desk
  decide(entered: Entered, wanted: Wanted): Promise<Decision>
  /** Refuses what an order to revoke keeps from being issued. Never awaits. */
  notHeld(entered: Entered, access: Access, wanted: AccessRequest): Result<void>
  /** Lets pass what needs no approval or has one; else asks for it. */
  approval(
    entered: Entered,
    decision: Allowed,
    wanted: Wanted,
    request: CredentialRequest,
  ): Promise<Result<Clear | Pending>>
  originOf(entered: Entered, wanted: Wanted, access: Access, gate: Clear): GrantOrigin
  /**
   * Takes the grant's place under the limits of its purpose and its task, once the grant whose answer its caller has not seen has
   * ended: a key never holds two secrets. @throws BrokerFault `vault_unavailable` when that one cannot be ended
   */
  open(opening: Grant, access: Access, wanted: Wanted, entered: Entered): Promise<Result<Grant>>
  recordIntent(grant: Grant, access: Access, by: Provenance): Promise<Grant>
  mint(
    grant: Grant,
    access: Access,
    callerParams: Readonly<Record<string, string>>,
    entered: Entered,
  ): Promise<Recorded>
}

const none = { active: 0, lastMinute: 0 }

export function createStages(deps: BrokerDeps): Stages {
  const { registry, tasks, clock } = deps
  const mintDeps = { ...deps, sealLease: deps.sealer.seal }

  async function decideNow(entered: Entered, wanted: Wanted): Promise<Decision> {
    const { workload } = entered.party
    if (workload === undefined) return decide(entered.policies, entered.identity, wanted, none, clock.now())
    const counters = await registry.counters(workload, wanted.purpose)
    const task = wanted.task === '' ? undefined : await tasks.get(wanted.task)
    const ofTask = task && { active: await registry.liveOfTask(task.id), grants: task.granted ?? 0 }
    const all = { ...counters, ...(ofTask && { task: ofTask }) }
    // Looked at after the counters: whoever opens a grant with the same key meanwhile is not taken for somebody else.
    const replaces = wanted.retry !== undefined && (await registry.liveOfKey(wanted.retry.key)) > 0
    const room = replaces ? withoutReplaced(all) : all
    return answered(entered, decide(entered.policies, entered.identity, wanted, room, clock.now()))
  }

  /** Somebody must be left to answer for the workload. */
  function answered({ policies }: Entered, decision: Decision): Decision {
    if (decision.effect === 'deny') return decision
    const refusal = deps.signals.unanswered(policies, decision.access.workload)
    if (refusal === undefined) return decision
    const { workload, owner, purpose, environment, credential } = decision.access
    return {
      effect: 'deny',
      refusal: { ...refusal, reasons: [...decision.reasons, ...refusal.reasons] },
      subject: { workload, owner, purpose, environment, credential },
      policy: decision.policy,
    }
  }

  function notHeld({ identity }: Entered, access: Access, { task }: AccessRequest): Result<void> {
    const { workload, owner, purpose, credential } = access
    const { issuer } = identity
    return heldOr(deps.orders, { workload, owner, purpose, credential, issuer, ...(task !== '' && { task }) })
  }

  return {
    ...deps,
    ...createWanting(deps),
    ...createDelivering(deps),
    ...createRenewing(deps, answered),
    desk: createDesk({ ...deps, policies: deps.policies.current }),
    decide: decideNow,
    notHeld,
    approval: (entered, decision, wanted, request) =>
      gateOf(
        { ...deps.approvals, hasLeft: deps.signals.hasLeft },
        entered,
        decision,
        wanted,
        request,
        wanted.retry?.before,
      ),
    originOf: (entered, wanted, access, gate) => ({
      issuer: entered.identity.issuer,
      subject: bounded(entered.identity.subject),
      reason: wanted.reason,
      task: isId('tsk', wanted.task) ? wanted.task : undefined,
      // Never what the request merely names: the record says on whose yes a grant rests.
      approval: gate.approval,
      ...(wanted.retry !== undefined && { retry: retryIn(wanted.retry) }),
      ...(access.renewable &&
        Object.keys(wanted.params).length > 0 && { params: deps.sealer.sealText(JSON.stringify(wanted.params)) }),
    }),
    async open(opening, access, wanted, entered) {
      const before = wanted.retry?.before
      const { by } = entered
      if (before !== undefined && before.status !== 'ended') await deps.ender.end(before, { cause: 'replaced', by })
      const free = () => notHeld(entered, access, wanted)
      if (opening.task === undefined) {
        const opened = await registry.open(opening, access.limits, free)
        return opened.ok ? ok(opening) : opened
      }
      const counted = await tasks.count(opening.task, access.limits.taskGrants)
      if (!counted.ok) return counted
      const placed = { ...opening, taskGrant: counted.value }
      const opened = await registry.open(placed, access.limits, free)
      if (!opened.ok) await tasks.uncount(opening.task)
      return opened.ok ? ok(placed) : opened
    },
    async recordIntent(grant, access, by) {
      const { grant: minting } = await registry.record(grant, {
        ...about(grant),
        ...by,
        kind: 'grant.intent',
        engine: access.target.engine,
        mount: access.target.mount,
        role: access.target.role,
        params: access.target.paramsDigest,
        delivery: access.delivery,
        ttl: access.ttlSeconds,
        ceilings: [...access.ceilings],
        data: [...access.data],
        sensitivity: access.sensitivity,
        reason: grant.reason === '' ? undefined : bounded(grant.reason),
        exception: access.exception,
        task_grant: grant.taskGrant,
        idempotency_key: grant.retry?.key,
        idempotency_request: grant.retry?.request,
        replaces: grant.retry?.replaces,
        caller_params: grant.params,
      })
      return minting
    },
    mint: (grant, access, callerParams, entered) => mintAndRecord(mintDeps, grant, access, callerParams, entered),
  }
}

/** The place of the grant that this one replaces is free by the time this one takes its own. */
const withoutReplaced = ({ active, task, ...rest }: Counters): Counters => ({
  ...rest,
  active: active - 1,
  ...(task !== undefined && { task: { ...task, active: Math.max(0, task.active - 1) } }),
})

const retryIn = ({ key, request, before }: Retry): NonNullable<Grant['retry']> => ({
  key,
  request,
  ...(before !== undefined && { replaces: before.id }),
})
