import { BrokerFault } from '../../src/base/errors.ts'
import { type CompositeId, type GrantId, newId } from '../../src/base/ids.ts'
import { silentLog } from '../../src/base/log.ts'
import { ok, refuse } from '../../src/base/result.ts'
import { Secret } from '../../src/base/secret.ts'
import { createTrace } from '../../src/base/trace.ts'
import { mintAndRecord, type Recorded } from '../../src/broker/mint.ts'
import type { ReconcileResult } from '../../src/contract/reconcile.ts'
import type { Engine, LeaseHandle, MintTarget } from '../../src/engines/engine.ts'
import { createApprovals } from '../../src/grants/approvals.ts'
import { about, createEnder } from '../../src/grants/end.ts'
import { createFindings } from '../../src/grants/findings.ts'
import { type Grant, openGrant } from '../../src/grants/grant.ts'
import { createOrders } from '../../src/grants/orders.ts'
import { createPace } from '../../src/grants/pace.ts'
import type { Provenance } from '../../src/grants/provenance.ts'
import { createReconciler } from '../../src/grants/reconcile.ts'
import { createRegistry } from '../../src/grants/registry.ts'
import { createSweep } from '../../src/grants/sweep.ts'
import { createTasks } from '../../src/grants/tasks.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { createSealer } from '../../src/ledger/seal.ts'
import type { Access } from '../../src/policy/decision.ts'
import { memoryState } from '../../src/state/memory.ts'
import type { FakeClock } from './clock.ts'

export const by: Provenance = {
  actor: { type: 'workload', name: 'checkout', issuer: 'cluster-eu', subject: 'system:serviceaccount:orders:checkout' },
}

const target: MintTarget = {
  credential: 'orders-ro',
  engine: 'scripted',
  mount: 'database',
  role: 'orders-ro',
  params: {},
}

export const access: Access = {
  workload: 'checkout',
  workloadType: 'service',
  owner: 'payments',
  backup: 'platform',
  purpose: 'read-orders',
  environment: 'prod',
  credential: 'orders-ro',
  target,
  accepts: [],
  data: ['orders'],
  sensitivity: 'medium',
  ttlSeconds: 900,
  cappedBy: [],
  ceilings: [
    { name: 'request', seconds: 900 },
    { name: 'purpose', seconds: 3600 },
  ],
  delivery: 'plain',
  renewable: true,
  limits: { active: undefined, perMinute: undefined },
  exception: undefined,
}

/** A Vault in memory behind the Engine port: leases that live until revoked, and faults on demand. */
export function scriptedEngine(clock: FakeClock) {
  const leases = new Set<string>()
  let minted = 0
  const script = {
    leases,
    revocations: 0,
    /** What the session says of Vault as a whole. */
    vaultReady: true,
    /** Whether what is minted comes with a handle to end it. */
    revocable: true,
    /** When Vault made a lease, where it is not just now. */
    madeAtMs: new Map<string, number>(),
    /** Thrown by the next calls of that verb, in order. */
    mintFaults: [] as Error[],
    revokeFaults: [] as Error[],
    listFaults: [] as Error[],
    lookUpFaults: [] as Error[],
    /** The kind has no leases to list. */
    listsNothing: false,
    /** Ids that were looked up. */
    lookUps: [] as string[],
    /** Awaited once Vault has made its list, before it arrives. */
    afterList: undefined as (() => Promise<void>) | undefined,
    /** Awaited before Vault looks. */
    beforeLookUp: undefined as ((id: string) => Promise<void>) | undefined,
    /** Awaited inside `mint`, after the lease exists. */
    beforeAnswer: undefined as (() => Promise<void>) | undefined,
  }
  const engine: Engine = {
    kind: 'scripted',
    acceptedParams: [],
    revocable: () => true,
    async mint(order) {
      const fault = script.mintFaults.shift()
      if (fault !== undefined && fault instanceof BrokerFault && fault.code === 'engine_refused') throw fault
      const user = `v-${++minted}`
      const id = `database/creds/orders-ro/${minted}`
      leases.add(id)
      script.madeAtMs.set(id, clock.now())
      await script.beforeAnswer?.()
      if (fault !== undefined) throw fault
      return {
        secret: new Secret({ username: user, password: 'hunter2' }),
        handle: script.revocable ? new Secret<LeaseHandle>({ type: 'lease', id }) : undefined,
        expiresAtMs: clock.now() + order.ttlSeconds * 1000,
        renewable: true,
        publicIds: [{ type: 'database_user', value: user }],
      }
    },
    renew: async (_, ttlSeconds) => ({ expiresAtMs: clock.now() + ttlSeconds * 1000 }),
    async revoke(handle) {
      script.revocations++
      const fault = script.revokeFaults.shift()
      if (fault !== undefined) throw fault
      leases.delete(handle.type === 'certificate' ? handle.serial : handle.id)
    },
    async leases() {
      const fault = script.listFaults.shift()
      if (fault !== undefined) throw fault
      if (script.listsNothing) return undefined
      const listed = [...leases]
        .filter((id) => id.startsWith('database/'))
        .map((id) => new Secret<LeaseHandle>({ type: 'lease', id }))
      await script.afterList?.()
      return listed
    },
    async lookUp(handle) {
      const id = handle.type === 'certificate' ? handle.serial : handle.id
      script.lookUps.push(id)
      await script.beforeLookUp?.(id)
      const fault = script.lookUpFaults.shift()
      if (fault !== undefined) throw fault
      if (!leases.has(id)) return { live: false, endedAtMs: undefined }
      return { live: true, issuedAtMs: script.madeAtMs.get(id) ?? clock.now() }
    },
    needs: () => [],
  }
  return { engine, script }
}

interface Intention {
  readonly task?: `tsk_${string}`
  readonly composite?: CompositeId
  readonly limits?: Access['limits']
  readonly as?: Partial<Pick<Access, 'workload' | 'owner' | 'purpose' | 'credential'>>
}
type Scripted = Pick<ReturnType<typeof scriptedEngine>, 'engine' | 'script'>

/** The grants stage over memory and a given ledger, wired as `compose.ts` does. */
export function grantsStage(
  ledger: Ledger,
  clock: FakeClock,
  scripted: Scripted = scriptedEngine(clock),
  vault: { exclusive?: boolean; standby?: boolean; tokenSinceMs?: number; credentials?: readonly string[] } = {},
) {
  const state = memoryState(clock)
  const sealer = createSealer(new Uint8Array(32).fill(9))
  const trace = createTrace()
  const engine = () => scripted.engine
  const registry = createRegistry({ state, ledger, clock })
  const vaultAway = () => !scripted.script.vaultReady
  const ender = createEnder({
    registry,
    ledger,
    engine,
    openLease: sealer.open,
    clock,
    log: silentLog,
    trace,
    vaultAway,
  })
  const approvals = createApprovals({ state, ledger, clock })
  const orders = createOrders({ registry, ledger, ender, clock, log: silentLog })
  const tasks = createTasks({ state, ledger, registry, ender, clock })
  const credentials = () =>
    (vault.credentials ?? ['orders-ro']).map((name) => ({ name, target, exclusive: vault.exclusive ?? true }))
  const findings = createFindings(ledger)
  const reconciler = createReconciler({
    registry,
    ledger,
    findings,
    engine,
    ender,
    hashLease: sealer.hashOf,
    openLease: sealer.open,
    credentials,
    authoritative: async () => vault.standby !== true,
    tokenSinceMs: async () => vault.tokenSinceMs,
    pace: createPace({ atOnce: 4, perSecond: 1_000_000, clock }),
    everyMs: 300_000,
    clock,
    log: silentLog,
  })
  /** A round that an operator asks for. */
  async function reconcile(options: { dryRun?: boolean } = {}): Promise<ReconcileResult> {
    const result = await reconciler.demand({ dryRun: options.dryRun ?? false, by })
    if (!result.ok) throw new Error(result.refusal.code)
    return result.value
  }
  const sweep = createSweep({
    registry,
    tasks,
    approvals,
    ender,
    reconciler,
    vaultReady: () => scripted.script.vaultReady,
    clock,
    log: silentLog,
  })

  const admitted = (grant: Grant) =>
    orders.heldBy(grant) === undefined ? ok(undefined) : refuse('issuance_held', 'revocation', 'held')

  async function intend(options: Intention = {}): Promise<Grant> {
    const id: GrantId = newId('gr', clock.now())
    const origin = {
      issuer: 'cluster-eu',
      subject: 'system:serviceaccount:orders:checkout',
      reason: '',
      task: options.task,
      approval: undefined,
      ...(options.composite && { composite: options.composite }),
    }
    const counted = options.task === undefined ? undefined : await tasks.count(options.task, undefined)
    const opening = {
      ...openGrant(id, { ...access, ...options.as }, origin, clock.now()),
      ...(counted?.ok === true && { taskGrant: counted.value }),
    }
    const opened = await registry.open([opening], options.limits ?? access.limits, () => admitted(opening))
    if (!opened.ok) throw new Error(opened.refusal.code)
    const { grant } = await registry.record(opening, {
      ...about(opening),
      ...by,
      kind: 'grant.intent',
      engine: target.engine,
      mount: target.mount,
      role: target.role,
      delivery: 'plain',
      ttl: 900,
      ceilings: access.ceilings.map((ceiling) => ({ ...ceiling })),
      data: ['orders'],
      sensitivity: 'medium',
      task_grant: opening.taskGrant,
    })
    return grant
  }
  const mintDeps = { registry, engine, sealLease: sealer.seal, clock, log: silentLog, trace }
  const mint = (grant: Grant): Promise<Recorded> => mintAndRecord(mintDeps, grant, access, {}, { by })
  const issue = async (options: Parameters<typeof intend>[0] = {}): Promise<Recorded> => mint(await intend(options))

  return {
    state,
    registry,
    ender,
    orders,
    approvals,
    tasks,
    findings,
    reconciler,
    reconcile,
    sweep,
    intend,
    mint,
    mintDeps,
    issue,
    vault,
    engine: scripted.engine,
    script: scripted.script,
  }
}
