import type { Justified } from './broker/justified.ts'
import type { Readiness } from './contract/readiness.ts'
import type { VaultSession } from './engines/vault-session.ts'
import type { Reconciler } from './grants/reconcile.ts'
import type { EntryLogs } from './http/entry-logs.ts'
import type { MetricSources, Metrics } from './http/metrics.ts'
import type { Verifier } from './identity/verify.ts'
import type { Ledger } from './ledger/ledger.ts'
import type { PolicyStore } from './policy/store.ts'
import type { State } from './state/state.ts'

interface Parts {
  readonly ledger: Ledger
  readonly session: VaultSession
  readonly verifier: Verifier
  readonly policies: PolicyStore
  readonly justified: Justified
  readonly state: State
  readonly reconciler: Pick<Reconciler, 'totals'>
  readonly isDraining: () => boolean
  readonly entryLogs: Pick<EntryLogs, 'lost'> | undefined
}

/** Whether the broker can issue, and what is wrong when not. An issuer that is down is shown, and holds up nobody else. */
export async function readinessOf(parts: Parts): Promise<Readiness> {
  const vault = parts.session.ready()
  const draining = parts.isDraining()
  return {
    ready: vault.ok && !draining,
    draining,
    issuers: parts.verifier
      .status()
      .map(({ issuer, ready, detail }) => ({ name: issuer, ready, problem: ready ? null : detail })),
    vault: { ready: vault.ok, problem: vault.ok ? null : vault.detail },
    // A ledger that cannot write ends the process, so one that answers can.
    ledger: { ready: true, problem: null, size: parts.ledger.head().size },
    state: { ready: true, problem: null },
    policy: { ...parts.policies.status(), ...held(parts) },
  }
}

/** Anybody reads `/readyz`: how much is held, and not what. */
function held({ justified }: Parts): Pick<Readiness['policy'], 'held' | 'ending'> {
  const { held, ending } = justified.status()
  if (held === null) return { held, ending }
  const { digest, since, live, would_end } = held
  return { held: { digest, since, live, would_end }, ending }
}

/** What `/metrics` reads when it is asked. */
export function watchedBy(parts: Parts): MetricSources {
  return {
    liveGrants: () => parts.state.count('grant', 'live'),
    ledgerSize: () => parts.ledger.head().size,
    policy() {
      const { digest, refused, loaded_at } = parts.policies.status()
      const { held, ending } = parts.justified.status()
      return {
        digest,
        refused: refused !== null,
        loadedAtMs: Date.parse(loaded_at),
        held: held?.would_end ?? 0,
        ending,
      }
    },
    vaultUp: () => parts.session.ready().ok,
    issuers: () => parts.verifier.status().map(({ issuer, ready }) => ({ name: issuer, ready })),
    reconciling: parts.reconciler.totals,
    lostEntryLogs: () => parts.entryLogs?.lost() ?? 0,
  }
}

/** Counts outcomes as the ledger records them, so that metrics and record cannot disagree. */
export function countFromLedger(ledger: Ledger, metrics: Metrics): void {
  const engines = new Map<string, string>()
  ledger.subscribe(({ entry }) => {
    switch (entry.kind) {
      case 'request.denied':
        return metrics.decision(entry.code)
      case 'approval.requested':
        return metrics.decision('needs_approval')
      case 'grant.intent':
        metrics.decision('allow')
        engines.set(entry.grant ?? '', entry.engine)
        return
      case 'grant.issued':
      case 'grant.failed': {
        const engine = engines.get(entry.grant ?? '') ?? 'unknown'
        engines.delete(entry.grant ?? '')
        if (entry.kind === 'grant.issued') return metrics.issuance(engine, 'issued')
        return metrics.issuance(engine, entry.ambiguous ? 'ambiguous' : 'failed')
      }
      default:
    }
  })
}
