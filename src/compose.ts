import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { bounded } from './base/bounded.ts'
import { type Clock, systemClock } from './base/clock.ts'
import { BrokerFault } from './base/errors.ts'
import type { Log } from './base/log.ts'
import { releaseMemory } from './base/memory.ts'
import { Secret } from './base/secret.ts'
import { createTrace } from './base/trace.ts'
import { createBroker } from './broker.ts'
import type { Config } from './config/config.ts'
import type { VaultAuthMethod } from './engines/login.ts'
import { createEngines, type Engines } from './engines/registry.ts'
import { createVaultSession, type VaultSession } from './engines/vault-session.ts'
import { createApprovals } from './grants/approvals.ts'
import { createEnder } from './grants/end.ts'
import { createOpenEntries } from './grants/open-entries.ts'
import { byBroker } from './grants/provenance.ts'
import { createReconciler } from './grants/reconcile.ts'
import { createRegistry } from './grants/registry.ts'
import { replay } from './grants/replay.ts'
import { createSweep } from './grants/sweep.ts'
import { createTasks } from './grants/tasks.ts'
import { createApp } from './http/app.ts'
import type { EntryLogs } from './http/entry-logs.ts'
import { createMetrics } from './http/metrics.ts'
import { startServer } from './http/server.ts'
import type { IssuersOptions } from './identity/issuers.ts'
import { recordedUses } from './identity/replay.ts'
import { createVerifier } from './identity/verify.ts'
import { createEntryIndex } from './ledger/entry-index.ts'
import { type FileLedger, openFileLedger } from './ledger/file.ts'
import { openLedgerKey } from './ledger/keys.ts'
import { createRefusals } from './ledger/refusals.ts'
import { createRestart } from './ledger/restart.ts'
import { createSealer, openSealKey } from './ledger/seal.ts'
import type { loadPolicies } from './policy/load.ts'
import { createPolicyStore } from './policy/store.ts'
import { countFromLedger, readinessOf, watchedBy } from './readiness.ts'
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
  /** Reads policies and certificates again; what is wrong keeps the old set and is recorded. */
  reload(): Promise<void>
  /** Resolves when the broker must not go on: its ledger can no longer be trusted to write. */
  readonly failed: Promise<Error>
  /** Takes no more work, finishes what is under way, and leaves grants as they are. */
  close(): Promise<void>
}

/** Entries from which reading the ledger leaves more behind than a broker weighs. */
const manyEntries = 20_000

/**
 * The only wiring: picks each adapter and opens it in the order in which one needs the other.
 * @throws BrokerFault when the ledger or the policies cannot be opened; whatever was open is closed again.
 */
export async function compose(config: Config, options: ComposeOptions): Promise<Running> {
  const { log, clock = systemClock, entryLogs } = options
  const opened = createStack()
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
    const session = await openVault(config, clock, log)
    opened.push(() => session.close())
    const engine = engineOr(createEngines(session, clock))

    const registry = createRegistry({ state, ledger, clock })
    const approvals = createApprovals({ state, ledger, clock })
    const ender = createEnder({ registry, ledger, engine, openLease: sealer.open, clock, log, trace })
    const tasks = createTasks({ state, ledger, registry, ender, clock })
    const useIn = recordedUses(() => policies.current().issuers)
    const openEntries = createOpenEntries({ usedUntilMs: (entry) => useIn(entry)?.untilMs, now: clock.now })
    const restart = createRestart({ dir: config.ledger.dir, ledger, key: sealKey, log })
    const { entries, unsettled } = await replay({
      entries: restart.entries(),
      registry,
      tasks,
      approvals,
      clock,
      async recall(stored) {
        openEntries.see(stored)
        const use = useIn(stored.entry)
        if (use !== undefined && use.untilMs > clock.now()) await state.claim(use.key, use.untilMs)
      },
    })
    if (entries >= manyEntries) await releaseMemory(log)
    ledger.subscribe(openEntries.see)
    const restartPoint = restart.follow(openEntries.list)
    opened.push(restartPoint.stop)
    const credentials = () => policies.current().credentials
    const reconciler = createReconciler({ registry, ledger, engine, hashLease: sealer.hashOf, credentials, clock, log })
    const reconcileEveryMs = config.reconcile.everyMs
    const sweep = createSweep({ registry, tasks, approvals, ender, reconciler, reconcileEveryMs, clock, log })

    const verifier = createVerifier({ issuers: () => policies.current().issuers, clock, log, ...options.identity })
    opened.push(async () => verifier.close())
    const refusals = createRefusals({ ledger, clock })
    const entryIndex = createEntryIndex({ ledger, dir: config.ledger.dir, clock, log })
    opened.push(() => entryIndex.close())
    const stages = { verifier, policies, state, ledger, refusals, sealer, engine, registry, tasks, approvals, ender }
    const broker = createBroker({ ...stages, entryIndex, clock, log, trace })

    const draining = new AbortController()
    const parts = { ledger, session, verifier, policies, state, isDraining: () => draining.signal.aborted, entryLogs }
    metrics.watch(watchedBy(parts))
    const app = createApp({
      broker,
      readiness: () => readinessOf(parts),
      metrics,
      log,
      clock,
      limits: { maxInFlight: config.limits.concurrency, requestMs: config.limits.requestTimeoutMs },
      draining: draining.signal,
      publishedLog: { log: ledger, public: config.ledger.public },
      docsUrlBase: config.url,
      version,
      onUndelivered: (id) => void broker.endUndelivered(id),
    })

    verifier.start()
    await ledger.append({ kind: 'broker.started', ...byBroker('start'), policy: policies.current().digest, version })
    // Vault may be slow or down; that keeps credentials from being issued, not the broker from answering.
    void session.start().then(() => reconciler.revokeStrays(unsettled))
    const server = await startServer({ app, ...listenOf(config), clock, log, docsUrlBase: config.url })
    opened.push(async () => {
      draining.abort()
      await server.close(config.limits.drainTimeoutMs)
      await sweep.stop()
      await ledger.append({ kind: 'broker.stopped', ...byBroker('stop'), cause: 'asked to stop' })
    })
    sweep.start()

    return {
      url: server.url,
      ledger: { dir: config.ledger.dir, vkey: ledger.vkey },
      failed: ledger.failed,
      async reload() {
        await policies.reload()
        await server.reload()
      },
      close: opened.closeAll,
    }
  } catch (error) {
    await opened.closeAll()
    throw error
  }
}

async function openLedger(config: Config, clock: Clock, log: Log): Promise<FileLedger> {
  const { dir, origin, keyFile, previousKeyFile, anchor, archive, witnesses, quorum, witnessTimeoutMs } = config.ledger
  const key = await openLedgerKey({ text: config.ledger.key?.reveal(), file: keyFile, origin, create: true })
  const previous =
    previousKeyFile === undefined ? undefined : await openLedgerKey({ file: previousKeyFile, origin, create: false })
  return openFileLedger({
    dir,
    origin,
    key,
    ...(previous === undefined ? {} : { previousKey: previous }),
    ...(anchor === undefined ? {} : { anchor }),
    ...(archive === undefined ? {} : { archive }),
    witnesses: { witnesses, quorum, timeoutMs: witnessTimeoutMs },
    clock,
    log,
  })
}

/** The session the configuration names, not started yet; `writ doctor` looks through the same one. */
export async function openVault({ vault }: Config, clock: Clock, log: Log): Promise<VaultSession> {
  return createVaultSession({
    address: vault.address,
    ...(vault.namespace === undefined ? {} : { namespace: vault.namespace }),
    ...(vault.caFile === undefined ? {} : { caCertPem: await readFile(vault.caFile, 'utf8') }),
    auth: await vaultAuthOf(vault.auth),
    deadlineMs: vault.timeoutMs,
    clock,
    log,
  })
}

async function vaultAuthOf(auth: Config['vault']['auth']): Promise<VaultAuthMethod> {
  const text = async (path: string): Promise<string> => (await readFile(path, 'utf8')).trim()
  if (auth.method === 'token') {
    return { method: 'token', token: 'token' in auth ? auth.token : new Secret(await text(auth.tokenFile)) }
  }
  const { roleIdFile, secretIdFile, mount } = auth
  const ids = async () => ({ roleId: await text(roleIdFile), secretId: new Secret(await text(secretIdFile)) })
  return { method: 'approle', ids, mount }
}

/** Each set that is loaded or refused is on record before it decides anything. */
function policyRecord(ledger: FileLedger) {
  const by = byBroker('policies')
  return {
    onLoaded: async (set: { digest: string; workloadCount: number; warnings: readonly unknown[] }) => {
      const counts = { workloads: set.workloadCount, warnings: set.warnings.length }
      await ledger.append({ ...by, kind: 'policy.loaded', policy: set.digest, ...counts })
    },
    onRefused: async (problems: readonly string[]) => {
      const shown = problems.slice(0, 20).map((problem) => bounded(problem))
      await ledger.append({ ...by, kind: 'policy.refused', problems: shown, total: problems.length })
    },
  }
}

function engineOr(engines: Engines) {
  return (kind: string) => {
    const engine = engines.get(kind)
    if (engine === undefined) throw new BrokerFault('internal', `this version has no engine ${kind}`)
    return engine
  }
}

const listenOf = ({ listen }: Config) => ({
  host: listen.host,
  port: listen.port,
  ...(listen.tls === undefined ? {} : { tls: { certFile: listen.tls.cert, keyFile: listen.tls.key } }),
})

/** Closes what was opened, last first; one failure does not keep the rest open. */
function createStack() {
  const closers: (() => Promise<void> | void)[] = []
  let closing: Promise<void> | undefined
  return {
    push: (close: () => Promise<void> | void) => void closers.push(close),
    closeAll(): Promise<void> {
      closing ??= (async () => {
        for (const close of closers.toReversed()) await Promise.resolve(close()).catch(() => {})
      })()
      return closing
    },
  }
}
