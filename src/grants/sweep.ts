import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { inParallel } from '../base/in-parallel.ts'
import type { Log } from '../base/log.ts'
import { createRounds, type Rounds } from '../base/rounds.ts'
import type { Approvals } from './approvals.ts'
import type { Ender } from './end.ts'
import { endingAtOnce } from './end-all.ts'
import type { Grant } from './grant.ts'
import { byBroker } from './provenance.ts'
import type { Reconciler } from './reconcile.ts'
import { grantCounts, type Registry } from './registry.ts'
import type { Tasks } from './tasks.ts'

/** The look-out for what time ends: expired grants, tasks past their deadline, unanswered approvals, revocations to try again. */
export type Sweep = Rounds

const intervalMs = 1_000
const mostARound = 500
/** Revocations tried in a round while Vault is away: enough to notice, and over within one deadline. */
const mostWhileAway = endingAtOnce
/** Grants that could not be revoked and are looked at once Vault is back. */
const mostRetried = 1_000_000

interface Deps {
  readonly registry: Registry
  readonly tasks: Tasks
  readonly approvals: Approvals
  readonly ender: Ender
  readonly reconciler: Pick<Reconciler, 'settle'>
  /** Whether Vault can be asked, as far as is known. */
  readonly vaultReady: () => boolean
  readonly clock: Clock
  readonly log: Log
}

export function createSweep(deps: Deps): Sweep {
  let wasReady = true

  async function look(): Promise<void> {
    try {
      await deps.tasks.endDue(mostARound)
      await deps.approvals.expireDue(mostARound)
      const ready = deps.vaultReady()
      if (ready && !wasReady) await retryNow()
      wasReady = ready
      const [over, due] = await dueNow()
      // An ended grant whose secret has expired at last: nothing is left to do but to count it no more.
      for (const { id } of over) await deps.registry.update(id, (present) => present)
      const lost = due.filter((grant) => grant.status !== 'active' && grant.ledger.issued === undefined)
      if (lost.length > 0) await deps.reconciler.settle(lost)
      const ending = due.filter((grant) => !lost.includes(grant))
      await inParallel(ready ? ending : ending.slice(0, mostWhileAway), endingAtOnce, endOne)
    } catch (error) {
      deps.log.error({ error: messageOf(error) }, 'sweep_failed')
    }
  }

  async function dueNow(): Promise<[over: readonly Grant[], due: readonly Grant[]]> {
    const found = await deps.registry.due(mostARound)
    const isOver = ({ status }: Grant): boolean => status === 'ended'
    return [found.filter(isOver), found.filter((grant) => !isOver(grant))]
  }

  /** The ender logs what fails and sets the time of the next attempt. */
  async function endOne(grant: Grant): Promise<void> {
    const expired = grant.status === 'active'
    const cause = expired ? 'expired' : (grant.cause ?? 'revoked')
    await deps.ender.endOrPostpone(grant, { cause, by: byBroker(expired ? 'expiry' : 'retry') })
  }

  /** Vault is back: what waits for its next attempt need not wait any longer. */
  async function retryNow(): Promise<void> {
    const now = deps.clock.now()
    for (const { id } of await deps.registry.find([grantCounts.unrevoked], { limit: mostRetried })) {
      await deps.registry.update(id, (present) =>
        present.status === 'ending' && present.ledger.issued !== undefined ? { ...present, retryAtMs: now } : undefined,
      )
    }
  }

  return createRounds(deps.clock, intervalMs, look)
}
