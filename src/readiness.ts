import type { Justified } from './broker/justified.ts'
import { timeText } from './contract/fields.ts'
import type { Readiness } from './contract/readiness.ts'
import type { VaultSession } from './engines/vault-session.ts'
import type { Orders } from './grants/orders.ts'
import type { Reconciler } from './grants/reconcile.ts'
import { grantCounts, type Registry } from './grants/registry.ts'
import type { EntryLogs } from './http/entry-logs.ts'
import type { MetricSources, Metrics } from './http/metrics.ts'
import type { Verifier } from './identity/verify.ts'
import type { Ledger } from './ledger/ledger.ts'
import type { PolicyStore } from './policy/store.ts'
import type { State } from './state/state.ts'

interface Parts {
  readonly ledger: Ledger
  readonly session: VaultSession
  readonly registry: Pick<Registry, 'hangingOn'>
  readonly verifier: Verifier
  readonly policies: PolicyStore
  readonly justified: Justified
  readonly state: State
  readonly orders: Pick<Orders, 'list' | 'isHolding'>
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
    vault: { ready: vault.ok, problem: vault.ok ? null : vault.detail, tokens: await tokensOf(parts) },
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

/** The broker's own Vault tokens that are kept alive, and what hangs on each. */
async function tokensOf({ session, registry }: Parts): Promise<Readiness['vault']['tokens']> {
  const text = (instantMs: number | undefined) => (instantMs === undefined ? null : timeText(instantMs))
  const described = session.generations().map(async (view) => ({
    generation: view.generation,
    current: view.current,
    grants: await registry.hangingOn(view.generation),
    logged_in_at: timeText(view.bornAtMs),
    expires_at: text(view.expiresAtMs),
    ends_at: text(view.endsAtMs),
  }))
  return Promise.all(described)
}

/** What `/metrics` reads when it is asked. */
export function watchedBy(parts: Parts): MetricSources {
  return {
    liveGrants: () => parts.state.count('grant', 'live'),
    unrevokedGrants: () => parts.state.count('grant', grantCounts.unrevoked),
    irrevocableGrants: () => parts.state.count('grant', grantCounts.irrevocable),
    expiresOnlyGrants: () => parts.state.count('grant', grantCounts.expiresOnly),
    revocationOrders() {
      const orders = parts.orders.list()
      const open = orders.filter(({ completedAtMs }) => completedAtMs === undefined).length
      return { open, holding: orders.filter(parts.orders.isHolding).length }
    },
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
    vaultTokens: () => tokensOf(parts),
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
      case 'grant.ended': {
        // The end of an orphan is that of no grant of ours.
        if (entry.grant === undefined) return
        const seconds = entry.latency_ms === undefined ? undefined : entry.latency_ms / 1000
        return metrics.revocation(entry.engine ?? 'unknown', entry.cause, entry.outcome, seconds)
      }
      default:
    }
  })
}
