import type { Clock, Timer } from '../base/clock.ts'
import { BrokerFault, messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import { timeText } from '../contract/fields.ts'
import type { ReconcileResult, ReconcileStatus } from '../contract/reconcile.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { type CompareDeps, createComparison, findingPrefix, type RoundOrder } from './compare.ts'
import { about } from './end.ts'
import type { Grant } from './grant.ts'
import { byBroker, type Provenance } from './provenance.ts'
import { mintLostAfterMs, targetLabel } from './registry.ts'
import { createSources, type Reconcilable } from './sources.ts'

/**
 * Compares the leases that Vault lists with the ledger, so that invariant 2 holds after a crash or a lost answer: a lease that
 * no grant accounts for is revoked and recorded, a grant whose secret has ended in Vault is ended, and a mint without outcome is settled.
 */
export interface Reconciler {
  /** A round now, and one each interval from then on; sooner when one could not do everything. */
  start(): void
  /** A round that somebody asks for. Refuses `state_conflict` while another such round runs or waits. */
  demand(order: { readonly dryRun: boolean; readonly by: Provenance }): Promise<Result<ReconcileResult>>
  status(): ReconcileStatus
  /** Revokes what those mints left and records them as failed. Only for mints that Vault can no longer be working on. */
  settle(unsettled: readonly Grant[]): Promise<void>
  totals(): ReconcileTotals
  /** Stops at the next lease of the round under way. */
  stop(): Promise<void>
}

/** What all rounds since the start of the process have come to. */
export interface ReconcileTotals {
  readonly rounds: { readonly complete: number; readonly incomplete: number }
  readonly orphans: number
  readonly gone: number
  readonly findingsOpened: number
  /** Of the last round that was no dry run. */
  readonly last: ReconcileResult | undefined
  /** When a round last did everything; `undefined` when none did. */
  readonly lastCompleteMs: number | undefined
}

interface Deps extends CompareDeps {
  readonly ledger: Ledger
  /** Every Credential of the policies in force. */
  readonly credentials: () => readonly Reconcilable[]
  readonly everyMs: number
  readonly clock: Clock
  readonly log: Log
}

const retrySettlingMs = 30_000
/** A round that could not do everything is followed by the next one this soon at the latest. */
const againMs = 30_000

type Running = NonNullable<ReconcileStatus['running']>

export function createReconciler(deps: Deps): Reconciler {
  const { registry, findings, pace, clock, log } = deps
  const sources = createSources(deps.credentials)
  const compare = createComparison(deps)
  let running: Running | undefined
  let last: ReconcileResult | undefined
  let turn: Promise<unknown> = Promise.resolve()
  let demanded = false
  let timer: Timer | undefined
  const sums = { complete: 0, incomplete: 0, gone: 0, findingsOpened: 0 }
  let lastCompleteMs: number | undefined

  async function round(order: RoundOrder): Promise<ReconcileResult> {
    const startedMs = clock.now()
    const started = timeText(startedMs)
    const { trigger, dryRun } = order
    const held = await heldNow(registry)
    const all = sources.now(new Map([...held.roles].map(([label, { sample }]) => [label, sample])))
    running = {
      trigger,
      dry_run: dryRun,
      started_at: started,
      roles: all.length,
      roles_done: 0,
      leases: 0,
      orphans: 0,
      gone: 0,
    }
    const tally = compare.begin(order)
    for (const source of all) {
      if (pace.stopped) break
      await compare.role(source, held.roles.get(source.label)?.leased ?? new Map(), tally)
      running = {
        ...running,
        roles_done: running.roles_done + 1,
        leases: tally.roles.reduce((sum, { leases }) => sum + leases, 0),
        orphans: tally.orphans,
        gone: tally.gone,
      }
    }
    const closed = dryRun ? 0 : await closeFindings(tally.standing, order.by)
    const { roles } = tally
    const sum = (of: 'leases' | 'foreign'): number => roles.reduce((total, role) => total + role[of], 0)
    return {
      trigger,
      dry_run: dryRun,
      started_at: started,
      took_ms: Math.max(0, clock.now() - startedMs),
      complete: !pace.stopped && roles.every(({ problem }) => problem === null),
      leases: sum('leases'),
      orphans: tally.orphans,
      foreign: sum('foreign'),
      gone: tally.gone,
      unsettled: held.unsettled,
      findings: { opened: tally.opened, closed },
      roles,
      orphan_leases: tally.orphanLeases,
      gone_grants: tally.goneGrants,
    }
  }

  /** What was found in an earlier round, and not in this one although it looked, is over. */
  async function closeFindings(standing: ReadonlySet<string>, by: Provenance): Promise<number> {
    let closed = 0
    if (pace.stopped) return closed
    for (const name of findings.named(findingPrefix)) {
      if (!standing.has(name) && (await findings.close(name, by))) closed += 1
    }
    return closed
  }

  async function finish(order: RoundOrder, result: ReconcileResult): Promise<void> {
    const { complete, leases, orphans, foreign, gone, roles, took_ms: latency, findings: found } = result
    const failed = roles.filter(({ problem }) => problem !== null).length
    const changed = orphans + gone + found.opened + found.closed > 0
    if (order.trigger === 'demand' || changed) {
      await deps.ledger.append({
        ...order.by,
        kind: 'reconcile.completed',
        trigger: order.trigger,
        dry_run: order.dryRun,
        targets: roles.length,
        failed,
        leases,
        orphans,
        foreign,
        gone,
        latency_ms: latency,
      })
    }
    const { trigger, dry_run } = result
    log.info(
      { trigger, dry_run, complete, roles: roles.length, failed, leases, orphans, foreign, gone, took_ms: latency },
      'reconciled',
    )
    if (order.dryRun) return
    last = result
    sums[complete ? 'complete' : 'incomplete'] += 1
    sums.gone += gone
    sums.findingsOpened += found.opened
    if (complete) lastCompleteMs = clock.now()
  }

  /** One round at a time. */
  function inTurn(order: RoundOrder): Promise<ReconcileResult> {
    const mine = turn.then(async () => {
      try {
        const result = await round(order)
        await finish(order, result)
        return result
      } finally {
        running = undefined
      }
    })
    turn = mine.catch(() => {})
    return mine
  }

  function goOn(trigger: 'start' | 'interval'): void {
    void inTurn({ trigger, dryRun: false, by: byBroker('reconcile') }).then(
      ({ complete }) => schedule(complete ? deps.everyMs : Math.min(deps.everyMs, againMs)),
      (error: unknown) => {
        log.error({ error: messageOf(error) }, 'reconcile_failed')
        schedule(Math.min(deps.everyMs, againMs))
      },
    )
  }

  function schedule(delayMs: number): void {
    if (!pace.stopped) timer = clock.after(delayMs, () => goOn('interval'))
  }

  async function settleRole(grants: readonly Grant[]): Promise<void> {
    const [sample] = grants
    if (sample === undefined) return
    const detail = await compare.settle(sources.of(sample), new Set(grants.map(({ id }) => id)))
    for (const grant of grants) {
      const failed = { kind: 'grant.failed', code: 'vault_unavailable', ambiguous: true, detail } as const
      try {
        await registry.record(grant, { ...about(grant), ...byBroker('reconcile'), ...failed })
      } catch (error) {
        // Its outcome came after all.
        if (!(error instanceof BrokerFault && error.code === 'state_conflict')) throw error
      }
    }
  }

  return {
    start: () => goOn('start'),
    async demand({ dryRun, by }) {
      if (demanded) return refuse('state_conflict', 'reconcile.running', 'a round that was asked for is under way')
      demanded = true
      try {
        return ok(await inTurn({ trigger: 'demand', dryRun, by }))
      } finally {
        demanded = false
      }
    },
    status: () => ({ running: running ?? null, last: last ?? null }),
    totals: () => {
      const { complete, incomplete, gone, findingsOpened } = sums
      return {
        rounds: { complete, incomplete },
        orphans: compare.orphansRevoked(),
        gone,
        findingsOpened,
        last,
        lastCompleteMs,
      }
    },
    async settle(unsettled) {
      for (const [label, grants] of Map.groupBy(unsettled, ({ target }) => targetLabel(target))) {
        try {
          await settleRole(grants)
        } catch (error) {
          log.error({ target: label, grants: grants.length, error: messageOf(error) }, 'settling_failed')
          await postpone(deps, grants)
        }
      }
    },
    async stop() {
      pace.stop()
      timer?.cancel()
      await turn
    },
  }
}

/** They wait their turn again, so that many of them cannot keep what else is due from being looked at. */
async function postpone({ registry, clock }: Deps, grants: readonly Grant[]): Promise<void> {
  const retryAtMs = clock.now() + retrySettlingMs
  for (const { id, openedAtMs } of grants) {
    await registry.update(id, (present) =>
      present.ledger.issued === undefined && present.status !== 'ended'
        ? { ...present, retryAtMs: Math.max(retryAtMs, openedAtMs + mintLostAfterMs) }
        : undefined,
    )
  }
}

/** Live grants of one role. */
interface Held {
  readonly sample: Grant
  /** By the hash of their lease. */
  readonly leased: Map<string, Grant>
}

/** The grants that are live now, by role. */
async function heldNow(
  registry: CompareDeps['registry'],
): Promise<{ readonly roles: ReadonlyMap<string, Held>; readonly unsettled: number }> {
  const roles = new Map<string, Held>()
  let unsettled = 0
  for await (const grant of registry.walk(['live'])) {
    const label = targetLabel(grant.target)
    let held = roles.get(label)
    if (held === undefined) {
      held = { sample: grant, leased: new Map() }
      roles.set(label, held)
    }
    if (grant.lease !== undefined) held.leased.set(grant.lease.hash, grant)
    if (grant.mintLost && grant.ledger.issued === undefined) unsettled += 1
  }
  return { roles, unsettled }
}
