import { dirname, join } from 'node:path'
import { type Clock, systemClock } from './base/clock.ts'
import { messageOf } from './base/errors.ts'
import type { Log } from './base/log.ts'
import { releaseMemory } from './base/memory.ts'
import { createTrace } from './base/trace.ts'
import { createBrake } from './broker/brake.ts'
import { createJustified } from './broker/justified.ts'
import { createBroker } from './broker.ts'
import { createClosers } from './compose/closers.ts'
import { openEngines } from './compose/engines.ts'
import { keptTokens } from './compose/kept-tokens.ts'
import { openLedger } from './compose/ledger.ts'
import { policyRecord } from './compose/policy-record.ts'
import { resume } from './compose/resume.ts'
import { openVault, vaultsWord } from './compose/vault.ts'
import type { Config } from './config/config.ts'
import { createApprovals } from './grants/approvals.ts'
import { createEnder } from './grants/end.ts'
import { endAll } from './grants/end-all.ts'
import { createFindings } from './grants/findings.ts'
import { createOrders } from './grants/orders.ts'
import { createPace } from './grants/pace.ts'
import { byBroker } from './grants/provenance.ts'
import { createReconciler } from './grants/reconcile.ts'
import { createRegistry } from './grants/registry.ts'
import { createSweep } from './grants/sweep.ts'
import { createTasks } from './grants/tasks.ts'
import { createUnrotated } from './grants/unrotated.ts'
import { createApp } from './http/app.ts'
import type { EntryLogs } from './http/entry-logs.ts'
import { createMetrics } from './http/metrics.ts'
import { startServer } from './http/server.ts'
import type { IssuersOptions } from './identity/issuers.ts'
import { createProofs } from './identity/proof.ts'
import { setLifeSeconds } from './identity/set.ts'
import { createVerifier } from './identity/verify.ts'
import { createRefusals } from './ledger/refusals.ts'
import { createBox, createSealer, openSealKey } from './ledger/seal.ts'
import { createEntryIndex } from './ledger/search/entry-index.ts'
import type { loadPolicies } from './policy/load.ts'
import { createPolicyStore } from './policy/store.ts'
import { countFromLedger, readinessOf, watchedBy } from './readiness.ts'
import { createSignals } from './signals/signals.ts'
import { memoryState } from './state/memory.ts'
import { version } from './version.ts'

export interface ComposeOptions {
  readonly log: Log
  readonly clock?: Clock
  /** `writ dev` signs for the issuers of its policies, over http on loopback. */
  readonly identity?: Pick<IssuersOptions, 'keysFor' | 'allowLoopbackHttp'>
  /** How policies are read, where it is not the usual way. */
  readonly loadPolicies?: typeof loadPolicies
  /** Gets a copy of each durable entry. */
  readonly entryLogs?: EntryLogs | undefined
}

/** A broker that answers. */
export interface Running {
  readonly url: string
  readonly ledger: { readonly dir: string; readonly vkey: string }
  /**
   * Reads policies and certificates again; what is wrong keeps the old set and is recorded. Logs in to Vault anew, so that
   * policies which its role was given since count.
   */
  reload(): Promise<void>
  /** Resolves when the broker must not go on: its ledger can no longer be trusted to write. */
  readonly failed: Promise<Error>
  /** Takes no more work, finishes what is under way, and leaves grants as they are. */
  close(): Promise<void>
}

/**
 * The only wiring: picks each adapter and opens it in the order in which one needs the other.
 * @throws BrokerFault when the ledger or the policies cannot be opened; whatever was open is closed again.
 */
export async function compose(config: Config, options: ComposeOptions): Promise<Running> {
  const { log, clock = systemClock, entryLogs } = options
  const opened = createClosers()
  try {
    const metrics = createMetrics()
    const trace = createTrace(metrics.stage)
    const ledger = await openLedger(config, clock, log)
    opened.push(() => ledger.close())
    // What an auditor must keep elsewhere: the record proves nothing to somebody who takes the key from beside it.
    log.info({ dir: config.ledger.dir, vkey: ledger.vkey, ...ledger.head() }, 'ledger_opened')
    countFromLedger(ledger, metrics)
    if (entryLogs !== undefined) ledger.subscribe(entryLogs.emit)
    const sealKey = await openSealKey(join(dirname(config.ledger.keyFile), 'seal.key'), config.ledger.sealKey?.reveal())
    const sealer = createSealer(sealKey)

    const policies = await createPolicyStore({
      dir: config.policies,
      clock,
      log,
      ...policyRecord(ledger),
      ...(options.loadPolicies === undefined ? {} : { load: options.loadPolicies }),
    })
    opened.push(() => policies.close())
    const state = memoryState(clock)
    opened.push(() => state.close())
    const registry = createRegistry({ state, ledger, clock })
    const session = await openVault(config, clock, log, {
      store: keptTokens({ dir: config.ledger.dir, box: createBox(sealKey), log }),
      hanging: { count: registry.hangingOn, highest: registry.highestGeneration },
      // Their leases are gone, so there is something for it to find.
      onLost: () => void reconciler.demand({ dryRun: false, by: byBroker('vault token lost') }).catch(() => {}),
    })
    opened.push(() => session.close())
    const credentials = () => policies.current().credentials
    const { engine, tokenKeys } = openEngines({ session, issuer: config.url, credentials, clock, log })

    const approvals = createApprovals({ state, ledger, clock })
    const vaultAway = () => !session.ready().ok
    const ender = createEnder({ registry, ledger, engine, openLease: sealer.open, clock, log, trace, vaultAway })
    const orders = createOrders({ registry, ledger, ender, clock, log })
    const tasks = createTasks({ state, ledger, registry, ender, clock })
    const verifier = createVerifier({ issuers: () => policies.current().issuers, clock, log, ...options.identity })
    opened.push(async () => verifier.close())
    const refusals = createRefusals({ ledger, clock })
    const findings = createFindings(ledger)
    const unrotated = createUnrotated({ findings, policies: policies.current, clock, log })
    const signals = createSignals({
      verifySet: verifier.verifySet,
      policies: policies.current,
      endAll: (grants, order) => endAll(ender, grants, order),
      setLifeSeconds,
      count: metrics.signal,
      ...{ state, ledger, findings, refusals, registry, tasks, approvals, clock, log },
    })
    const brake = createBrake({ limits: config.policyChange.brake, ledger, clock, log })
    const openLease = sealer.open
    const ended = { registry, tasks, ender, state, engine, openLease }
    const justified = createJustified({ ...ended, policies, brake, clock, log })
    const resumed = await resume({
      dir: config.ledger.dir,
      key: sealKey,
      ledger,
      registry,
      tasks,
      approvals,
      orders,
      state,
      policies,
      brake,
      signals,
      findings,
      unrotated,
      clock,
      log,
    })
    opened.push(resumed.stop)
    const { everyMs, concurrency: atOnce, perSecond } = config.reconcile
    const reconciler = createReconciler({
      registry,
      ledger,
      findings,
      engine,
      ender,
      hashLease: sealer.hashOf,
      openLease: sealer.open,
      credentials,
      ...vaultsWord(session),
      pace: createPace({ atOnce, perSecond, clock }),
      everyMs,
      clock,
      log,
    })
    const vaultReady = () => session.ready().ok
    const sweep = createSweep({ registry, tasks, approvals, ender, reconciler, vaultReady, clock, log })

    const entryIndex = createEntryIndex({ ledger, dir: config.ledger.dir, clock, log })
    opened.push(() => entryIndex.close())
    const grants = { registry, tasks, approvals, orders, ender, justified, reconciler, signals }
    const stages = {
      verifier,
      proofs: createProofs({ url: config.url, state, clock }),
      policies,
      state,
      ledger,
      refusals,
      sealer,
      engine,
      ...grants,
    }
    const broker = createBroker({ ...stages, leasesEndMs: session.leasesEndMs, entryIndex, clock, log, trace })

    const draining = new AbortController()
    const parts = {
      ledger,
      session,
      registry,
      verifier,
      policies,
      justified,
      state,
      orders,
      reconciler,
      isDraining: () => draining.signal.aborted,
      entryLogs,
    }
    metrics.watch(watchedBy(parts))
    const app = createApp({
      broker,
      readiness: () => readinessOf(parts),
      metrics,
      log,
      clock,
      limits: { maxInFlight: config.limits.concurrency, requestMs: config.limits.requestTimeoutMs },
      draining: draining.signal,
      tokenKeys,
      publishedLog: { log: ledger, public: config.ledger.public },
      docsUrlBase: config.url,
      version,
      onUndelivered: (id) => void broker.endUndelivered(id),
    })

    verifier.start()
    await ledger.append({ kind: 'broker.started', ...byBroker('start'), policy: policies.current().digest, version })
    // Vault may be slow or down; that keeps credentials from being issued, not the broker from answering.
    void session.start().then(reconciler.start)
    orders.resume()
    // The folder may have changed while no broker ran, and a kill may have come between a change and the ends it asks for.
    policies.follow(justified.changed)
    await justified.all().catch((error: unknown) => log.error({ error: messageOf(error) }, 'policy.change_failed'))
    if (resumed.entries >= manyEntries) await releaseMemory(log)
    const server = await startServer({ app, ...listenOf(config), clock, log, docsUrlBase: config.url })
    opened.push(async () => {
      draining.abort()
      await server.close(config.limits.drainTimeoutMs)
      await justified.stop()
      await orders.stop()
      await sweep.stop()
      await signals.stop()
      await unrotated.stop()
      await reconciler.stop()
      await ledger.append({ kind: 'broker.stopped', ...byBroker('stop'), cause: 'asked to stop' })
    })
    sweep.start()
    signals.start()
    unrotated.start()

    return {
      url: server.url,
      ledger: { dir: config.ledger.dir, vkey: ledger.vkey },
      failed: ledger.failed,
      async reload() {
        await policies.reload()
        await server.reload()
        await session.renewLogin()
      },
      close: opened.closeAll,
    }
  } catch (error) {
    await opened.closeAll()
    throw error
  }
}

/** Entries from which reading the ledger, and judging what it left, leave more behind than a broker weighs. */
const manyEntries = 20_000

const listenOf = ({ listen }: Config) => ({
  host: listen.host,
  port: listen.port,
  ...(listen.tls === undefined ? {} : { tls: { certFile: listen.tls.cert, keyFile: listen.tls.key } }),
})
