import { bounded } from '../base/bounded.ts'
import type { Clock } from '../base/clock.ts'
import { parseDuration } from '../base/duration.ts'
import { BrokerFault, messageOf } from '../base/errors.ts'
import { isId, newId } from '../base/ids.ts'
import type { Log } from '../base/log.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { Trace } from '../base/trace.ts'
import type { CredentialRequest, IssuedCredential } from '../contract/credential.ts'
import { timeText } from '../contract/fields.ts'
import type { Renewed } from '../contract/grant.ts'
import type { ReloadStatus } from '../contract/policy.ts'
import type { Engine } from '../engines/engine.ts'
import type { Approvals } from '../grants/approvals.ts'
import { about, type Ender } from '../grants/end.ts'
import { type Grant, type GrantOrigin, latestEndMs } from '../grants/grant.ts'
import type { Subject } from '../grants/holds.ts'
import type { Orders } from '../grants/orders.ts'
import type { Provenance } from '../grants/provenance.ts'
import type { Reconciler } from '../grants/reconcile.ts'
import type { Registry } from '../grants/registry.ts'
import type { NewTask, Task, Tasks } from '../grants/tasks.ts'
import type { Verifier } from '../identity/verify.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { PublishedLog } from '../ledger/log/published.ts'
import type { Refusals } from '../ledger/refusals.ts'
import type { Sealer } from '../ledger/seal.ts'
import { awaitReceipt } from '../ledger/search/await-receipt.ts'
import type { EntryIndex } from '../ledger/search/entry-index.ts'
import type { Archive } from '../ledger/store/archive.ts'
import type { PolicySet } from '../policy/compile.ts'
import { decide } from '../policy/decide.ts'
import type { Access, AccessRequest, Counters, Decision } from '../policy/decision.ts'
import type { Signals } from '../signals/signals.ts'
import type { State } from '../state/state.ts'
import { type Clear, gateOf } from './approval-gate.ts'
import type { Caller, Pending } from './caller.ts'
import { derivedTask } from './derived-task.ts'
import { createDesk, type Desk, type Entered } from './desk.ts'
import type { Justified } from './justified.ts'
import { mintAndRecord, type Recorded } from './mint.ts'
import { type Retry, retryKey, retryOf } from './retry.ts'
import { expiryOf } from './views.ts'

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

/** A request in the words of policy, with what must be done for it before its grant is opened. */
export interface Wanted extends AccessRequest {
  /** The task that the token names and that nobody has opened yet; `task` is its id. */
  readonly unopened?: NewTask & { readonly run: string }
  readonly retry?: Retry
}

type Allowed = Exclude<Decision, { effect: 'deny' }>

/** A recorded secret, and its receipt where one was asked for. */
type Proved = Recorded & { readonly proof?: string | null }

/** The steps that `broker.ts` puts in order. */
export interface Stages extends BrokerDeps {
  readonly desk: Desk
  /**
   * The request in the words of policy, once the task it names is known to be the caller's and open, or with the one that its token
   * names; and what came of the same request before, where it carries an Idempotency-Key.
   */
  wanted(entered: Entered, request: CredentialRequest, caller: Caller, key: string | undefined): Promise<Result<Wanted>>
  decide(entered: Entered, wanted: Wanted): Promise<Decision>
  /** Refuses what an order to revoke keeps from being issued. Never awaits. */
  notHeld(entered: Entered, access: Access, wanted: AccessRequest): Result<void>
  /** Opens the task that the token names, once policy supports what is asked for under it. */
  inTask(entered: Entered, wanted: Wanted): Promise<Result<Wanted>>
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
  mint(grant: Grant, access: Access, callerParams: Readonly<Record<string, string>>, by: Provenance): Promise<Recorded>
  /**
   * Where the request waits for its receipt: with the receipt, or null when there is none within a second, and with the grant as
   * it is by then. Never keeps a minted credential from its caller.
   */
  proved(recorded: Recorded, request: CredentialRequest): Promise<Proved>
  /**
   * Whether the secret may leave: its task may have ended, a switch been pulled, a signal come, or other policies come into force, while
   * Vault was minting. Ends the grant if not.
   */
  stillWanted(entered: Entered, grant: Grant): Promise<Result<void>>
  issuedBody(proved: Proved, access: Access): Omit<IssuedCredential, 'secret'>
  /** The caller's own live, renewable grant. */
  heldGrant(entered: Entered, id: string): Promise<Result<Grant>>
  decideAgain(entered: Entered, grant: Grant, ttl: string | undefined, caller: Caller): Promise<Decision>
  renew(grant: Grant, access: Access, by: Provenance): Promise<Result<Renewed>>
}

const none = { active: 0, lastMinute: 0 }

export function createStages(deps: BrokerDeps): Stages {
  const { registry, tasks, clock } = deps
  const mintDeps = { ...deps, sealLease: deps.sealer.seal }

  async function withDerivedTask(entered: Entered, base: Wanted): Promise<Wanted> {
    const derived = derivedTask(entered, base.purpose, clock.now())
    if (derived === undefined) return base
    const open = await tasks.ofRun(derived.workload, derived.purpose, derived.run)
    if (open !== undefined) return within(base, open)
    const id = newId('tsk', clock.now())
    return { ...within(base, { ...derived, id }), unopened: { ...derived, id } }
  }

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
    desk: createDesk({ ...deps, policies: deps.policies.current }),
    async wanted(entered, request, caller, key) {
      const workload = entered.party.workload ?? ''
      const retry =
        key === undefined ? undefined : await retryOf(registry, retryKey(workload, request.purpose, key, request))
      if (retry?.ok === false) return retry
      const base: Wanted = { ...accessRequest(request, caller), ...(retry && { retry: retry.value }) }
      if (request.task === undefined) return ok(await withDerivedTask(entered, base))
      const task = await tasks.held(request.task, workload, request.purpose)
      return task.ok ? ok(within(base, task.value)) : task
    },
    decide: decideNow,
    notHeld,
    async inTask(entered, { unopened, ...wanted }) {
      if (unopened === undefined) return ok(wanted)
      const opened = await tasks.openRun(unopened, entered.by)
      return opened.ok ? ok(within(wanted, opened.value)) : opened
    },
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
    mint: (grant, access, callerParams, by) => mintAndRecord(mintDeps, grant, access, callerParams, by),
    async proved(recorded, { receipt }) {
      if (receipt === undefined) return recorded
      const { index } = recorded.position
      const proof = await awaitReceipt(deps.ledger, index).catch((error: unknown) => {
        deps.log.error({ index, error: messageOf(error) }, 'receipt_failed')
        return undefined
      })
      return { ...recorded, grant: (await registry.get(recorded.grant.id)) ?? recorded.grant, proof: proof ?? null }
    },
    async stillWanted({ identity, by }, grant) {
      try {
        const trusted = await deps.signals.check(identity)
        if (!trusted.ok) {
          await deps.ender.end(grant, { cause: 'signal', by })
          return trusted
        }
        if (grant.approval !== undefined) await deps.approvals.attach(grant.approval, grant.id)
        const overtaken = deps.justified.overtaken(grant)
        if (overtaken !== undefined) {
          await deps.ender.end(grant, { cause: 'policy_changed', reason: overtaken, by })
          return refuse('state_conflict', 'policy', 'the policies changed while it was minted')
        }
        const order = deps.orders.heldBy(grant)
        if (order !== undefined) {
          const { id: revocation, reason, orderedBy, orderedAtMs: sinceMs } = order
          await deps.ender.endOrPostpone(grant, { cause: 'kill_switch', reason, by: orderedBy, revocation, sinceMs })
          return heldOr(deps.orders, grant)
        }
        if (grant.status === 'active' && (await tasks.stillOpen(grant.task))) return ok(undefined)
      } catch (error) {
        // Nobody will get this secret, so nobody would hand it back.
        await deps.ender.end(grant, { cause: 'undelivered', by }).catch(() => {})
        throw error
      }
      await deps.ender.end(grant, { cause: 'task_ended', by })
      return refuse('state_conflict', 'grant.live', 'it was ended while it was minted')
    },
    issuedBody: ({ grant, position: { index }, proof }, access) => ({
      grant: grant.id,
      workload: grant.workload,
      purpose: grant.purpose,
      credential: grant.credential,
      environment: grant.environment,
      issued_at: timeText(grant.issuedAtMs ?? clock.now()),
      expires_at: expiryOf(grant),
      ttl_capped_by: [...access.cappedBy, ...cappedByVault(grant, access)],
      renewable: grant.renewable,
      revocable: grant.revocable,
      delivery: grant.delivery,
      ...(grant.task === undefined ? {} : { task: grant.task }),
      ledger: {
        index,
        receipt: `/v1/ledger/entries/${index}/receipt`,
        ...(proof === undefined ? {} : { proof }),
      },
    }),
    async heldGrant(entered, id) {
      const grant = isId('gr', id) ? await registry.get(id) : undefined
      if (grant === undefined || grant.workload !== entered.party.workload) {
        return refuse('not_found', 'grant', 'no such grant of this workload')
      }
      if (grant.status !== 'active') return refuse('state_conflict', 'grant.status', `it is ${grant.status}`)
      const held = heldOr(deps.orders, grant)
      if (!held.ok) return held
      if (!grant.renewable || grant.lease === undefined)
        return refuse('state_conflict', 'grant.renewable', 'it cannot be renewed')
      if (!(await tasks.stillOpen(grant.task))) return refuse('state_conflict', 'task.open', 'its task has ended')
      return ok(grant)
    },
    async decideAgain(entered, grant, ttl, caller) {
      const task = grant.task === undefined ? undefined : await tasks.get(grant.task)
      const wanted: AccessRequest = {
        purpose: grant.purpose,
        credential: grant.credential,
        ttlSeconds: ttl === undefined ? undefined : parseDuration(ttl),
        reason: grant.reason,
        task: grant.task ?? '',
        taskEndsAtMs: task?.expiresAtMs,
        params: grant.params === undefined ? {} : paramsIn(await deps.sealer.openText(grant.params)),
        delivery: grant.delivery,
        ip: caller.ip,
      }
      // The grant is already counted: a renewal takes no new place under the limits.
      return answered(entered, decide(entered.policies, entered.identity, wanted, none, clock.now()))
    },
    async renew(grant, access, by) {
      const wantedMs = clock.now() + access.ttlSeconds * 1000
      const latestMs = latestEndMs(grant, access.ceilings) ?? Number.MAX_SAFE_INTEGER
      const tokenMs = grant.generation === undefined ? latestMs : deps.leasesEndMs(grant.generation)
      const endMs = Math.min(wantedMs, latestMs, tokenMs)
      const cappedBy =
        endMs < wantedMs ? [...access.cappedBy, tokenMs < latestMs ? 'vault' : 'issued'] : access.cappedBy
      const seconds = Math.floor((endMs - clock.now()) / 1000)
      // Asking for less than there is left is granted as it stands: a renewal never shortens. Less than a second more is not
      // worth a call to Vault and an entry, or renewing in a circle would keep both busy.
      if (grant.lease === undefined || seconds < 1 || endMs < (grant.expiresAtMs ?? 0) + 1_000)
        return ok(renewed(grant, cappedBy))
      const handle = await deps.sealer.open(grant.lease.sealed)
      const { expiresAtMs } = await deps.engine(grant.target.engine).renew(handle, seconds)
      const { grant: moved } = await registry.record(grant, {
        ...about(grant),
        ...by,
        kind: 'grant.renewed',
        expires: timeText(Math.min(expiresAtMs, endMs)),
        ceilings: [...access.ceilings],
      })
      // It was decided under the policies of when the call came in; others may be in force by now.
      const settled = moved.status === 'active' ? await deps.justified.settle(moved) : moved
      if (settled.status !== 'active') return refuse('state_conflict', 'grant.status', 'it was ended meanwhile')
      return ok(renewed(settled, cappedBy))
    },
  }
}

/** Refuses while an order to revoke holds. */
function heldOr(orders: Orders, subject: Subject): Result<void> {
  const order = orders.heldBy(subject)
  return order === undefined ? ok(undefined) : refuse('issuance_held', 'revocation', `held by ${order.id}`)
}

/** Vault may let a secret live for less than was decided: its role, its mount or its own limits. */
function cappedByVault(grant: Grant, access: Access): readonly string[] {
  if (grant.static || grant.expiresAtMs === undefined) return []
  // The decision is a moment older than the lease, and Vault counts whole seconds.
  const short = grant.expiresAtMs < grant.openedAtMs + access.ttlSeconds * 1000 - 2_000
  return short ? ['vault'] : []
}

function renewed(grant: Grant, cappedBy: readonly string[]): Renewed {
  if (grant.expiresAtMs === undefined) throw new BrokerFault('internal', 'a renewable grant has an end')
  return { grant: grant.id, expires_at: timeText(grant.expiresAtMs), ttl_capped_by: [...cappedBy] }
}

const within = <W extends AccessRequest>(wanted: W, task: Pick<Task, 'id' | 'expiresAtMs'>): W => ({
  ...wanted,
  task: task.id,
  taskEndsAtMs: task.expiresAtMs,
})

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

// What was sealed was the checked parameters of a request.
const paramsIn = (text: string): AccessRequest['params'] => JSON.parse(text) as AccessRequest['params']

const accessRequest = (request: CredentialRequest, caller: Caller): AccessRequest => ({
  purpose: request.purpose,
  credential: request.credential,
  ttlSeconds: request.ttl === undefined ? undefined : parseDuration(request.ttl),
  reason: request.reason ?? '',
  task: '',
  taskEndsAtMs: undefined,
  params: request.params ?? {},
  delivery: request.delivery,
  ip: caller.ip,
})
