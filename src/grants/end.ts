import { type Clock, sleep } from '../base/clock.ts'
import { BrokerFault } from '../base/errors.ts'
import type { GrantId } from '../base/ids.ts'
import type { Log } from '../base/log.ts'
import type { Trace } from '../base/trace.ts'
import { timeText } from '../contract/fields.ts'
import type { EndedGrant } from '../contract/grant.ts'
import type { Engine, LeaseHandle } from '../engines/engine.ts'
import type { EndReason } from '../ledger/entry.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { type Grant, type GrantEntry, type GrantOutcome, worksUntil } from './grant.ts'
import { byBroker, type Provenance } from './provenance.ts'
import { mintLostAfterMs, type Registry } from './registry.ts'

/** Tries at once before the grant is left to the sweep. */
const triesAtOnce = 3
/** After so many failed attempts the grant is a critical finding; slow retries go on all the same. */
export const irrevocableAfter = 8
const longestRetryMs = 300_000
/** How long a request waits for a mint that is under way before it may end what comes of it. */
const mintWaitMs = 60_000

export interface EndOrder {
  readonly cause: EndReason
  readonly reason?: string | undefined
  /** What was found out about it, for the entry of the end. */
  readonly detail?: string | undefined
  readonly by: Provenance
  /** The order to revoke under which it falls, for the record. */
  readonly revocation?: string | undefined
  /** When that was ordered: what waits for its turn has been waiting since then. */
  readonly sinceMs?: number | undefined
}

/**
 * The one path on which a grant ends, whatever the cause: record that it is ending, have Vault end the secret,
 * record the outcome with its latency. Ending what has ended answers as the first time.
 */
export interface Ender {
  /** @throws BrokerFault `vault_unavailable` or `engine_refused`; the grant then stays `ending` and is tried again. */
  end(grant: Grant, order: EndOrder): Promise<EndedGrant>
  /** The same for those who end many: what could not be ended yet is answered as `pending`, or as `irrevocable` once that is a finding. */
  endOrPostpone(grant: Grant, order: EndOrder): Promise<EndedGrant>
}

interface Deps {
  readonly registry: Registry
  readonly ledger: Ledger
  readonly engine: (kind: string) => Engine
  readonly openLease: (sealed: string) => Promise<LeaseHandle>
  readonly clock: Clock
  readonly log: Log
  readonly trace: Trace
  /** Whether Vault as a whole is known to be away: one attempt is then enough, and nobody calls a grant irrevocable for it. */
  readonly vaultAway?: () => boolean
}

export function createEnder(deps: Deps): Ender {
  const { registry, clock } = deps
  const underWay = new Map<GrantId, Promise<EndedGrant>>()

  /** A place under the limits becomes a mint, and a mint becomes a lease, within moments; only then is there something to end. */
  async function settled(id: GrantId, order: EndOrder): Promise<Grant | undefined> {
    const untilMs = clock.now() + mintWaitMs
    for (;;) {
      const grant = await registry.get(id)
      if (grant === undefined || grant.status === 'active' || grant.status === 'ended') return grant
      const answered = grant.ledger.issued !== undefined || grant.mintLost
      if (grant.status === 'ending' && (answered || clock.now() >= untilMs)) return grant
      // Whatever happened to it in the meantime is seen on the next look.
      if (grant.status === 'minting') await registry.record(grant, endingEntry(grant, order)).catch(unlessMoved)
      if (clock.now() >= untilMs) return grant
      await sleep(clock, 10)
    }
  }

  async function run(id: GrantId, order: EndOrder): Promise<EndedGrant> {
    const startedMs = clock.now()
    let grant = await settled(id, order)
    if (grant === undefined) throw new BrokerFault('not_found')
    if (grant.status === 'ended') return endedView(grant, clock.now())
    if (grant.status !== 'active' && grant.ledger.issued === undefined) throw new BrokerFault('vault_unavailable')
    // What has ended by itself needs no announcement: the entry of its end says all there is.
    const byItself = order.cause === 'expired' || order.cause === 'found_gone'
    const unannounced = grant.status === 'active' && !byItself
    // What is ending for another reason falls under the order as well.
    const unordered = grant.status === 'ending' && grant.revocation === undefined && order.revocation !== undefined
    if (unannounced || unordered) {
      grant = (await registry.record(grant, endingEntry(grant, order))).grant
    }
    const cause = grant.cause ?? order.cause
    const attempts = await revoke(deps, grant, cause)
    if (grant.irrevocable) await closeFinding(deps, grant)
    const sinceMs = Math.min(startedMs, grant.endingAtMs ?? startedMs, order.sinceMs ?? startedMs)
    const latencyMs = Math.max(0, clock.now() - sinceMs)
    const { grant: ended } = await registry.record(grant, {
      ...about(grant),
      ...order.by,
      kind: 'grant.ended',
      engine: grant.target.engine,
      revocation: grant.revocation,
      cause,
      outcome: outcomeOf(grant, cause),
      latency_ms: latencyMs,
      attempts,
      detail: cause === order.cause ? order.detail : undefined,
    })
    return endedView(ended, clock.now())
  }

  /** Nobody may be left to ask again, so whatever went wrong the sweep goes on with it. */
  async function runOrPostpone(id: GrantId, order: EndOrder): Promise<EndedGrant> {
    try {
      return await run(id, order)
    } catch (error) {
      const now = clock.now()
      await registry.update(id, (present) => {
        if (present.status !== 'ending' || (present.retryAtMs ?? 0) > now) return undefined
        // Until Vault can no longer be minting, there may be more to revoke than it lists.
        const settleAtMs = present.ledger.issued === undefined ? present.openedAtMs + mintLostAfterMs : 0
        return {
          ...present,
          retryAtMs: Math.max(settleAtMs, now + backoffMs(1_000, present.attempts + 1, longestRetryMs)),
        }
      })
      throw error
    }
  }

  function end(grant: Grant, order: EndOrder): Promise<EndedGrant> {
    const before = underWay.get(grant.id)
    if (before !== undefined) return before
    const running = deps
      .trace('grants.end', { 'writ.grant': grant.id, 'writ.cause': order.cause }, () => runOrPostpone(grant.id, order))
      .finally(() => underWay.delete(grant.id))
    underWay.set(grant.id, running)
    return running
  }

  return {
    end,
    endOrPostpone: (grant, order) =>
      end(grant, order).catch(async () => {
        const present = (await registry.get(grant.id).catch(() => undefined)) ?? grant
        return endedView({ ...present, endingAtMs: present.endingAtMs ?? order.sinceMs }, clock.now())
      }),
  }
}

function unlessMoved(error: unknown): undefined {
  if (!(error instanceof BrokerFault && error.code === 'state_conflict')) throw error
}

/** Has Vault end the secret, trying a few times; returns the number of attempts it took in all. */
async function revoke(deps: Deps, grant: Grant, cause: EndReason): Promise<number> {
  if (grant.lease === undefined || !grant.revocable) return grant.attempts
  const handle = await deps.openLease(grant.lease.sealed)
  const engine = deps.engine(grant.target.engine)
  for (let attempt = grant.attempts + 1; ; attempt++) {
    try {
      await engine.revoke(handle)
      return attempt
    } catch (error) {
      const again = error instanceof BrokerFault && error.code === 'vault_unavailable'
      const tries = deps.vaultAway?.() === true ? 1 : triesAtOnce
      if (!again || attempt - grant.attempts >= tries) {
        await postpone(deps, grant, cause, attempt)
        throw error
      }
      await sleep(deps.clock, backoffMs(100, attempt - grant.attempts, 1_000))
    }
  }
}

async function postpone(deps: Deps, grant: Grant, cause: EndReason, attempts: number): Promise<void> {
  const retryAtMs = deps.clock.now() + backoffMs(1_000, attempts, longestRetryMs)
  const irrevocable = grant.irrevocable || (attempts >= irrevocableAfter && deps.vaultAway?.() !== true)
  if (irrevocable && !grant.irrevocable) await openFinding(deps, grant, attempts)
  await deps.registry.update(grant.id, (present) =>
    present.status === 'ended' ? undefined : { ...present, status: 'ending', cause, attempts, retryAtMs, irrevocable },
  )
  deps.log.error({ grant: grant.id, attempts, engine: grant.target.engine }, 'revoke_failed')
}

/** The finding that says that a grant could not be revoked. */
export const findingOf = (grant: string): string => `irrevocable-${grant}`

async function openFinding(deps: Deps, grant: Grant, attempts: number): Promise<void> {
  await deps.ledger.append({
    ...about(grant),
    ...byBroker('revocation'),
    kind: 'finding.opened',
    revocation: grant.revocation,
    finding: findingOf(grant.id),
    severity: 'critical',
    detail: `Vault has refused or missed ${attempts} attempts to revoke; slow retries go on`,
  })
  deps.log.error({ grant: grant.id, attempts, engine: grant.target.engine }, 'irrevocable')
}

async function closeFinding(deps: Deps, grant: Grant): Promise<void> {
  await deps.ledger.append({
    ...about(grant),
    ...byBroker('revocation'),
    kind: 'finding.closed',
    revocation: grant.revocation,
    finding: findingOf(grant.id),
  })
}

/** Exponential with jitter in the upper half; whole milliseconds. */
function backoffMs(firstMs: number, attempt: number, mostMs: number): number {
  const whole = Math.min(mostMs, firstMs * 2 ** Math.min(20, attempt - 1))
  return Math.round(whole / 2 + Math.random() * (whole / 2))
}

function outcomeOf(grant: Grant, cause: EndReason): GrantOutcome {
  if (cause === 'expired' && !grant.static) return 'expired'
  if (cause === 'found_gone') return 'gone'
  return grant.revocable ? 'revoked' : 'expires_only'
}

function endingEntry(grant: Grant, order: EndOrder): GrantEntry {
  return {
    ...about(grant),
    ...order.by,
    kind: 'grant.ending',
    cause: order.cause,
    reason: order.reason,
    revocation: order.revocation,
  }
}

/** The fields that say which grant an entry is about. */
export function about(grant: Grant) {
  return {
    workload: grant.workload,
    owner: grant.owner,
    purpose: grant.purpose,
    environment: grant.environment,
    credential: grant.credential,
    grant: grant.id,
    task: grant.task,
    approval: grant.approval,
    composite: grant.composite,
  }
}

/** What ending a grant came to so far. */
export function endedView(grant: Grant, nowMs: number): EndedGrant {
  const ended = grant.status === 'ended'
  const works = worksUntil(grant)
  return {
    grant: grant.id,
    credential: grant.credential,
    outcome: ended ? (grant.outcome ?? 'failed') : grant.irrevocable ? 'irrevocable' : 'pending',
    latency_ms: ended ? (grant.latencyMs ?? 0) : Math.max(0, nowMs - (grant.endingAtMs ?? nowMs)),
    ...(works === undefined ? {} : { works_until: works === 'rotated' ? works : timeText(works) }),
  }
}
