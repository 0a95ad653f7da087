import { bounded } from '../base/bounded.ts'
import type { Clock } from '../base/clock.ts'
import { isId, newId } from '../base/ids.ts'
import type { Log } from '../base/log.ts'
import { ok, type Refusal, type Result } from '../base/result.ts'
import { each, eachSoon, type Several } from '../base/several.ts'
import type { Trace } from '../base/trace.ts'
import type { CredentialRequest } from '../contract/credential.ts'
import type { ReloadStatus } from '../contract/policy.ts'
import type { Engine } from '../engines/engine.ts'
import type { Approvals } from '../grants/approvals.ts'
import { about, type Ender } from '../grants/end.ts'
import { type Grant, type GrantOrigin, openGrant } from '../grants/grant.ts'
import type { Orders } from '../grants/orders.ts'
import type { Provenance } from '../grants/provenance.ts'
import type { Reconciler } from '../grants/reconcile.ts'
import type { Registry } from '../grants/registry.ts'
import type { Tasks } from '../grants/tasks.ts'
import type { Proofs } from '../identity/proof.ts'
import type { Verifier } from '../identity/verify.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { PublishedLog } from '../ledger/log/published.ts'
import type { Refusals } from '../ledger/refusals.ts'
import type { Sealer } from '../ledger/seal.ts'
import type { EntryIndex } from '../ledger/search/entry-index.ts'
import type { Archive } from '../ledger/store/archive.ts'
import type { PolicySet } from '../policy/compile.ts'
import { decide } from '../policy/decide.ts'
import type { Access, Counters, Decision } from '../policy/decision.ts'
import type { Signals } from '../signals/signals.ts'
import type { State } from '../state/state.ts'
import { type Clear, gateOf } from './approval-gate.ts'
import type { Pending } from './caller.ts'
import { type Allowed, type Composite, createComposite, type Intended, type Part } from './composite.ts'
import { createDelivering, type Delivering } from './delivering.ts'
import { createDesk, type Desk, type Entered } from './desk.ts'
import { whyNotEncrypted } from './encrypted.ts'
import { heldOr } from './held.ts'
import type { Justified } from './justified.ts'
import { createRenewing, type Renewing } from './renewing.ts'
import type { Retry } from './retry.ts'
import { createWanting, type Wanted, type Wanting } from './wanted.ts'

/** What the broker is made of; `compose.ts` picks each. */
export interface BrokerDeps {
  readonly verifier: Verifier
  readonly proofs: Proofs
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

/** The steps that `broker.ts` puts in order. */
export interface Stages extends BrokerDeps, Wanting, Omit<Delivering, 'stillWanted'>, Composite, Renewing {
  readonly desk: Desk
  /** One decision for each part, as if those before it were issued already: a set fits under the limits as a whole. */
  decide(entered: Entered, asked: Several<Wanted>): Promise<Several<Decision>>
  /** Refuses what an order to revoke keeps from being issued. Never awaits. */
  notHeld(entered: Entered, parts: Several<Part>): Result<void>
  /** Lets pass what needs no approval or has one; else asks for it. */
  approval(entered: Entered, parts: Several<Part>, request: CredentialRequest): Promise<Result<Clear | Pending>>
  /** A grant for each part; those of a set bear its name. */
  openings(entered: Entered, parts: Several<Part>, gate: Clear): Several<Intended>
  /**
   * Takes the grants' places under the limits of their purpose and their task, all or none, once the grants whose answer their caller has
   * not seen have ended: a key never holds the secrets of two requests. @throws BrokerFault `vault_unavailable` when those cannot be ended
   */
  open(openings: Several<Intended>, entered: Entered): Promise<Result<Several<Intended>>>
  recordIntents(parts: Several<Intended>, by: Provenance): Promise<Several<Intended>>
}

const none = { active: 0, lastMinute: 0 }

export function createStages(deps: BrokerDeps): Stages {
  const { registry, tasks, clock } = deps
  const delivering = createDelivering(deps)
  const mintDeps = { ...deps, sealLease: deps.sealer.seal }

  async function roomFor({ party }: Entered, wanted: Wanted): Promise<Counters> {
    const { workload } = party
    if (workload === undefined) return none
    const counters = await registry.counters(workload, wanted.purpose)
    const task = wanted.task === '' ? undefined : await tasks.get(wanted.task)
    const ofTask = task && { active: await registry.liveOfTask(task.id), grants: task.granted ?? 0 }
    const all = { ...counters, ...(ofTask && { task: ofTask }) }
    // Looked at after the counters: whoever opens a grant with the same key meanwhile is not taken for somebody else.
    const replaced = wanted.retry === undefined ? 0 : await registry.liveOfKey(wanted.retry.key)
    return withoutReplaced(all, replaced)
  }

  async function decideAll(entered: Entered, asked: Several<Wanted>): Promise<Several<Decision>> {
    const room = await roomFor(entered, asked[0])
    const { policies, identity } = entered
    return each(asked, (wanted, at) =>
      deliverable(entered, answered(entered, decide(policies, identity, wanted, withPlaces(room, at), clock.now()))),
    )
  }

  /** Somebody must be left to answer for the workload. */
  function answered({ policies }: Entered, decision: Decision): Decision {
    if (decision.effect === 'deny') return decision
    const refusal = deps.signals.unanswered(policies, decision.access.workload)
    return refusal === undefined ? decision : denied(decision, refusal)
  }

  /** What travels encrypted needs a key that the caller holds and that can decrypt. */
  function deliverable({ holder }: Entered, decision: Decision): Decision {
    if (decision.effect === 'deny') return decision
    const refusal = whyNotEncrypted(decision.access, holder)
    return refusal === undefined ? decision : denied(decision, refusal)
  }

  function notHeld({ identity }: Entered, parts: Several<Part>): Result<void> {
    const { issuer } = identity
    for (const { access, wanted } of parts) {
      const { workload, owner, purpose, credential } = access
      const { task } = wanted
      const subject = { workload, owner, purpose, credential, issuer, ...(task !== '' && { task }) }
      const free = heldOr(deps.orders, subject)
      if (!free.ok) return free
    }
    return ok(undefined)
  }

  const originOf = (entered: Entered, wanted: Wanted, access: Access, gate: Clear): GrantOrigin => ({
    issuer: entered.identity.issuer,
    subject: bounded(entered.identity.subject),
    reason: wanted.reason,
    task: isId('tsk', wanted.task) ? wanted.task : undefined,
    // Never what the request merely names: the record says on whose yes a grant rests.
    approval: gate.approval,
    ...(wanted.retry !== undefined && { retry: retryIn(wanted.retry, access.credential) }),
    ...(access.renewable &&
      Object.keys(wanted.params).length > 0 && { params: deps.sealer.sealText(JSON.stringify(wanted.params)) }),
  })

  async function recordIntent(grant: Grant, access: Access, by: Provenance): Promise<Grant> {
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
  }

  return {
    ...deps,
    ...createWanting(deps),
    ...delivering,
    ...createComposite({ ...deps, mintDeps, stillWanted: delivering.stillWanted }),
    ...createRenewing(deps, answered),
    desk: createDesk({ ...deps, policies: deps.policies.current }),
    decide: decideAll,
    notHeld,
    approval: (entered, parts, request) =>
      gateOf({ ...deps.approvals, hasLeft: deps.signals.hasLeft }, entered, parts, request),
    openings(entered, parts, gate) {
      const now = deps.clock.now()
      const composite = parts.length === 1 ? {} : { composite: newId('cmp', now) }
      return each(parts, (part) => {
        const origin = { ...originOf(entered, part.wanted, part.access, gate), ...composite }
        return { ...part, grant: openGrant(newId('gr', now), part.access, origin, now) }
      })
    },
    async open(openings, entered) {
      const [{ wanted, access, grant: first }] = openings
      const { by } = entered
      const unseen = (wanted.retry?.before ?? []).filter(({ status }) => status !== 'ended')
      await Promise.all(unseen.map((before) => deps.ender.end(before, { cause: 'replaced', by })))
      const take = (placed: typeof openings): Promise<Result<void>> =>
        registry.open(
          each(placed, ({ grant }) => grant),
          access.limits,
          () => notHeld(entered, placed),
        )
      if (first.task === undefined) {
        const opened = await take(openings)
        return opened.ok ? ok(openings) : opened
      }
      const counted = await tasks.count(first.task, access.limits.taskGrants, openings.length)
      if (!counted.ok) return counted
      const before = counted.value - openings.length
      const placed = each(openings, (part, at) => ({ ...part, grant: { ...part.grant, taskGrant: before + at + 1 } }))
      const opened = await take(placed)
      if (!opened.ok) await tasks.uncount(first.task, openings.length)
      return opened.ok ? ok(placed) : opened
    },
    recordIntents: (parts, by) =>
      eachSoon(parts, async (part) => ({ ...part, grant: await recordIntent(part.grant, part.access, by) })),
  }
}

/** The places of the grants that these replace are free by the time these take their own. */
const withoutReplaced = ({ active, task, ...rest }: Counters, replaced: number): Counters => ({
  ...rest,
  active: active - replaced,
  ...(task !== undefined && { task: { ...task, active: Math.max(0, task.active - replaced) } }),
})

/** With so many more grants than there are. */
const withPlaces = ({ active, lastMinute, task }: Counters, more: number): Counters => ({
  active: active + more,
  lastMinute: lastMinute + more,
  ...(task !== undefined && { task: { active: task.active + more, grants: task.grants + more } }),
})

function denied(decision: Allowed, refusal: Refusal): Decision {
  const { workload, owner, purpose, environment, credential } = decision.access
  return {
    effect: 'deny',
    refusal: { ...refusal, reasons: [...decision.reasons, ...refusal.reasons] },
    subject: { workload, owner, purpose, environment, credential },
    policy: decision.policy,
  }
}

function retryIn({ key, request, before }: Retry, credential: string): NonNullable<Grant['retry']> {
  const replaced = before.find((grant) => grant.credential === credential) ?? before[0]
  return { key, request, ...(replaced !== undefined && { replaces: replaced.id }) }
}
