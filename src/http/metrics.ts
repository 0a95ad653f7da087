import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { ReconcileTotals } from '../grants/reconcile.ts'
import { createHistogram } from './histogram.ts'
import { watchReconciling } from './reconcile-metrics.ts'

/** One answered request; every field is from a short list. */
interface RequestObservation {
  readonly route: string
  readonly method: string
  readonly status: number
  readonly code: string
  readonly seconds: number
}

/** Values that are read when `/metrics` is, not pushed when they change. */
export interface MetricSources {
  liveGrants(): number | Promise<number>
  ledgerSize(): number
  /** Digest of the policy set in force, and whether a later set was refused. */
  policy(): {
    readonly digest: string
    readonly refused: boolean
    readonly loadedAtMs: number
    /** Grants that the policies do not support: held back for an operator, and being ended. */
    readonly held: number
    readonly ending: number
  }
  vaultUp(): boolean
  /** Each trusted issuer and whether its keys are there. */
  issuers(): readonly { readonly name: string; readonly ready: boolean }[]
  /** Entries of the ledger whose copy no collector took. */
  lostEntryLogs(): number
  reconciling(): ReconcileTotals
}

/**
 * What the broker tells Prometheus. Labels are route patterns, codes, engines, stages and issuers: bounded lists, never
 * a workload, a person or an identifier, so the number of series does not grow with use.
 */
export interface Metrics {
  request(observed: RequestObservation): void
  /** How an attempt to mint ended: `issued`, `failed`, `ambiguous`, `compensated`. */
  issuance(engine: string, outcome: string): void
  /** What a decision came to: `allow`, `needs_approval`, or the code of the refusal. */
  decision(code: string): void
  /** A signal and what became of it: `received` or `refused`. */
  signal(name: string, outcome: string): void
  /** How long one stage of a request took. */
  stage(name: string, seconds: number): void
  /** Starts reading the values that live elsewhere. */
  watch(sources: MetricSources): void
  render(): Promise<{ readonly type: string; readonly text: string }>
}

// From 50 microseconds, where a refusal is, to ten seconds, where everything has given up.
const buckets = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]
const maxLabelValues = 64

/** A registry of its own, so that two brokers in one process (tests, `writ dev`) do not share series. */
export function createMetrics(options: { readonly process?: boolean } = {}): Metrics {
  const registry = new Registry()
  const registers = [registry]
  if (options.process ?? true) collectDefaultMetrics({ register: registry })
  const requests = new Counter({
    name: 'writ_http_requests_total',
    help: 'Answered requests by route pattern, method, status and problem code (ok when none)',
    labelNames: ['route', 'method', 'status', 'code'],
    registers,
  })
  const requestSeconds = createHistogram(registry, {
    name: 'writ_http_request_seconds',
    help: 'Time from the headers of a request to its answer',
    label: 'route',
    buckets,
  })
  const issuances = new Counter({
    name: 'writ_issuances_total',
    help: 'Attempts to mint by engine and outcome',
    labelNames: ['engine', 'outcome'],
    registers,
  })
  const decisions = new Counter({
    name: 'writ_decisions_total',
    help: 'Decisions by effect or refusal code',
    labelNames: ['code'],
    registers,
  })
  const signals = new Counter({
    name: 'writ_signals_total',
    help: 'Security event tokens by event and whether they were received or refused',
    labelNames: ['signal', 'outcome'],
    registers,
  })
  const stageSeconds = createHistogram(registry, {
    name: 'writ_stage_seconds',
    help: 'Time one stage of a request took',
    label: 'stage',
    buckets,
  })
  const engine = boundedLabel()
  const outcome = boundedLabel()
  const stage = boundedLabel()
  const decided = boundedLabel()
  const signalled = boundedLabel()
  // Hashing a set of labels costs more than counting, so each set is resolved once.
  const requestSeries = new Map<string, () => void>()

  return {
    request({ route, method, status, code, seconds }) {
      const key = `${route} ${method} ${status} ${code}`
      let count = requestSeries.get(key)
      if (count === undefined) {
        const series = requests.labels(route, method, String(status), code)
        count = () => series.inc()
        requestSeries.set(key, count)
      }
      count()
      requestSeconds.observe(route, seconds)
    },
    issuance: (kind, result) => issuances.inc({ engine: engine(kind), outcome: outcome(result) }),
    decision: (code) => decisions.inc({ code: decided(code) }),
    signal: (name, result) => signals.inc({ signal: signalled(name), outcome: outcome(result) }),
    stage: (name, seconds) => stageSeconds.observe(stage(name), seconds),
    watch: (sources) => watchSources(registers, sources),
    async render() {
      return { type: registry.contentType, text: await registry.metrics() }
    },
  }
}

// A label that comes from outside this folder: odd or excess values share one series, whatever a caller passes.
function boundedLabel(): (value: string) => string {
  const seen = new Set<string>()
  return (value) => {
    if (seen.has(value)) return value
    if (seen.size >= maxLabelValues || !/^[a-z][a-z0-9._-]{0,47}$/.test(value)) return 'other'
    seen.add(value)
    return value
  }
}

function watchSources(registers: Registry[], sources: MetricSources): void {
  const gauge = (name: string, help: string, read: () => number | Promise<number>): void => {
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        this.set(await read())
      },
    })
  }
  gauge('writ_grants_live', 'Grants that hold a live credential', () => sources.liveGrants())
  gauge('writ_ledger_entries', 'Durable ledger entries', () => sources.ledgerSize())
  watchReconciling(registers, sources.reconciling)
  gauge('writ_vault_up', 'Whether Vault answered last', () => Number(sources.vaultUp()))
  gauge('writ_policy_refused', 'Whether the last policy reload was refused', () => Number(sources.policy().refused))
  gauge('writ_policy_loaded_seconds', 'When the set in force was loaded', () => sources.policy().loadedAtMs / 1000)
  gauge(
    'writ_policy_held_grants',
    'Grants that the policies do not support, and whose end waits for an operator',
    () => sources.policy().held,
  )
  gauge(
    'writ_policy_ending_grants',
    'Grants that the policies do not support, and whose end is under way',
    () => sources.policy().ending,
  )
  new Counter({
    name: 'writ_ledger_logs_lost_total',
    help: 'Ledger entries whose copy as a log record no collector took; the ledger has them',
    registers,
    collect() {
      this.reset()
      this.inc(sources.lostEntryLogs())
    },
  })
  new Gauge({
    name: 'writ_policy_info',
    help: 'Digest of the policy set in force',
    labelNames: ['digest'],
    registers,
    collect() {
      this.reset()
      this.set({ digest: sources.policy().digest }, 1)
    },
  })
  new Gauge({
    name: 'writ_issuer_ready',
    help: 'Whether the keys of a trusted issuer are known',
    labelNames: ['issuer'],
    registers,
    collect() {
      this.reset()
      for (const { name, ready } of sources.issuers()) this.set({ issuer: name }, Number(ready))
    },
  })
}
