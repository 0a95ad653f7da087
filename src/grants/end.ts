import { type Clock, sleep } from '../base/clock.ts'
import { BrokerFault } from '../base/errors.ts'
import type { GrantId } from '../base/ids.ts'
import type { Log } from '../base/log.ts'
import type { Trace } from '../base/trace.ts'
import type { EndedGrant } from '../contract/grant.ts'
import type { Engine, LeaseHandle } from '../engines/engine.ts'
import type { EndReason } from '../ledger/entry.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Grant, GrantEntry, GrantOutcome } from './grant.ts'
import type { Provenance } from './provenance.ts'
import { mintLostAfterMs, type Registry } from './registry.ts'

/** Tries at once before the grant is left to the sweep. */
const triesAtOnce = 3
/** After so many failed attempts the grant is a critical finding; slow retries go on all the same. */
const irrevocableAfter = 8
const longestRetryMs = 300_000
/** How long a request waits for a mint that is under way before it may end what comes of it. */
const mintWaitMs = 60_000

export interface EndOrder {
  readonly cause: EndReason
  readonly reason?: string | undefined
  /** What was found out about it, for the entry of the end. */
  readonly detail?: string | undefined
  readonly by: Provenance
}

/**
 * The one path on which a grant ends, whatever the cause: record that it is ending, have Vault end the secret,
 * record the outcome with its latency. Ending what has ended answers as the first time.
 */
export interface Ender {
  /** @throws BrokerFault `vault_unavailable` or `engine_refused`; the grant then stays `ending` and is tried again. */
  end(grant: Grant, order: EndOrder): Promise<EndedGrant>
}

interface Deps {
  readonly registry: Registry
  readonly ledger: Ledger
  readonly engine: (kind: string) => Engine
  readonly openLease: (sealed: string) => Promise<LeaseHandle>
  readonly clock: Clock
  readonly log: Log
  readonly trace: Trace
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
    if (grant.status === 'ended') return view(grant, 0)
    if (grant.status !== 'active' && grant.ledger.issued === undefined) throw new BrokerFault('vault_unavailable')
    // What has ended by itself needs no announcement: the entry of its end says all there is.
    if (grant.status === 'active' && order.cause !== 'expired' && order.cause !== 'found_gone') {
      grant = (await registry.record(grant, endingEntry(grant, order))).grant
    }
    const cause = grant.cause ?? order.cause
    const attempts = await revoke(deps, grant, cause)
    const latencyMs = Math.max(0, clock.now() - startedMs)
    const { grant: ended } = await registry.record(grant, {
      ...about(grant),
      ...order.by,
      kind: 'grant.ended',
      cause,
      outcome: outcomeOf(grant, cause),
      latency_ms: latencyMs,
      attempts,
      detail: cause === order.cause ? order.detail : undefined,
    })
    return view(ended, latencyMs)
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

  return {
    end(grant, order) {
      const before = underWay.get(grant.id)
      if (before !== undefined) return before
      const running = deps
        .trace('grants.end', { 'writ.grant': grant.id, 'writ.cause': order.cause }, () =>
          runOrPostpone(grant.id, order),
        )
        .finally(() => underWay.delete(grant.id))
      underWay.set(grant.id, running)
      return running
    },
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
      if (!again || attempt - grant.attempts >= triesAtOnce) {
        await postpone(deps, grant, cause, attempt)
        throw error
      }
      await sleep(deps.clock, backoffMs(100, attempt - grant.attempts, 1_000))
    }
  }
}

async function postpone(deps: Deps, grant: Grant, cause: EndReason, attempts: number): Promise<void> {
  const retryAtMs = deps.clock.now() + backoffMs(1_000, attempts, longestRetryMs)
  await deps.registry.update(grant.id, (present) =>
    present.status === 'ended' ? undefined : { ...present, status: 'ending', cause, attempts, retryAtMs },
  )
  deps.log.error({ grant: grant.id, attempts, engine: grant.target.engine }, 'revoke_failed')
  if (grant.attempts < irrevocableAfter && attempts >= irrevocableAfter) {
    await deps.ledger.append({
      ...about(grant),
      kind: 'finding.opened',
      actor: { type: 'broker', reason: 'revocation' },
      finding: `irrevocable-${grant.id}`,
      severity: 'critical',
      detail: `Vault has refused or missed ${attempts} attempts to revoke; slow retries go on`,
    })
  }
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
  return { ...about(grant), ...order.by, kind: 'grant.ending', cause: order.cause, reason: order.reason }
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
  }
}

const view = (grant: Grant, latencyMs: number): EndedGrant => ({
  grant: grant.id,
  credential: grant.credential,
  outcome: grant.outcome ?? 'failed',
  latency_ms: latencyMs,
})
