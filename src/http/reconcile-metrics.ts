import { Counter, Gauge, type Registry } from 'prom-client'
import type { ReconcileTotals } from '../grants/reconcile.ts'

/** What reconciling tells Prometheus; read when `/metrics` is. */
export function watchReconciling(registers: Registry[], read: () => ReconcileTotals): void {
  const gauge = (name: string, help: string, value: (totals: ReconcileTotals) => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value(read()))
      },
    })
  }
  const counter = (name: string, help: string, value: (totals: ReconcileTotals) => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(value(read()))
      },
    })
  }
  new Counter({
    name: 'writ_reconcile_rounds_total',
    help: 'Comparisons of the leases in Vault with the ledger; incomplete when something could not be done',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset()
      for (const [outcome, count] of Object.entries(read().rounds)) this.inc({ outcome }, count)
    },
  })
  counter('writ_reconcile_orphans_total', 'Leases without a grant that were revoked', ({ orphans }) => orphans)
  counter('writ_reconcile_gone_total', 'Grants whose secret was found ended in Vault', ({ gone }) => gone)
  counter('writ_reconcile_findings_total', 'Findings that reconciling opened', ({ findingsOpened }) => findingsOpened)
  gauge('writ_reconcile_leases', 'Leases that Vault listed in the last round', ({ last }) => last?.leases ?? 0)
  gauge(
    'writ_reconcile_foreign_leases',
    'Leases of others in shared roles in the last round',
    ({ last }) => last?.foreign ?? 0,
  )
  gauge(
    'writ_reconcile_failed_roles',
    'Roles where the last round could not do everything',
    ({ last }) => (last?.roles ?? []).filter(({ problem }) => problem !== null).length,
  )
  gauge('writ_reconcile_seconds', 'How long the last round took', ({ last }) => (last?.took_ms ?? 0) / 1000)
  gauge(
    'writ_reconcile_complete_seconds',
    'When a round last did everything',
    ({ lastCompleteMs = 0 }) => lastCompleteMs / 1000,
  )
}
