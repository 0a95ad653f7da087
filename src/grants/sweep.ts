import type { Clock, Timer } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Approvals } from './approvals.ts'
import type { Ender } from './end.ts'
import type { Grant } from './grant.ts'
import { byBroker } from './provenance.ts'
import type { Reconciler } from './reconcile.ts'
import type { Registry } from './registry.ts'
import type { Tasks } from './tasks.ts'

/** The look-out for what time ends: expired grants, tasks past their deadline, unanswered approvals, revocations to try again. */
export interface Sweep {
  /** One round; resolves when everything due at its start was looked at. Never rejects. */
  once(): Promise<void>
  start(): void
  /** Stops after the round under way. */
  stop(): Promise<void>
}

const intervalMs = 1_000
const atOnce = 8
const mostARound = 500

interface Deps {
  readonly registry: Registry
  readonly tasks: Tasks
  readonly approvals: Approvals
  readonly ender: Ender
  readonly reconciler: Pick<Reconciler, 'settle'>
  readonly clock: Clock
  readonly log: Log
}

export function createSweep(deps: Deps): Sweep {
  let timer: Timer | undefined
  let round: Promise<void> = Promise.resolve()
  let stopped = false

  async function once(): Promise<void> {
    try {
      await deps.tasks.endDue(mostARound)
      await deps.approvals.expireDue(mostARound)
      const due = await deps.registry.due(mostARound)
      const lost = due.filter((grant) => grant.status !== 'active' && grant.ledger.issued === undefined)
      if (lost.length > 0) await deps.reconciler.settle(lost)
      const ending = due.filter((grant) => !lost.includes(grant))
      for (let from = 0; from < ending.length; from += atOnce) {
        await Promise.all(ending.slice(from, from + atOnce).map(endOne))
      }
    } catch (error) {
      deps.log.error({ error: messageOf(error) }, 'sweep_failed')
    }
  }

  async function endOne(grant: Grant): Promise<void> {
    try {
      const expired = grant.status === 'active'
      const cause = expired ? 'expired' : (grant.cause ?? 'revoked')
      await deps.ender.end(grant, { cause, by: byBroker(expired ? 'expiry' : 'retry') })
    } catch {
      // The ender has logged it and set the time of the next attempt.
    }
  }

  function schedule(): void {
    if (stopped) return
    timer = deps.clock.after(intervalMs, () => {
      round = once().finally(schedule)
    })
  }

  return {
    once,
    start: schedule,
    async stop() {
      stopped = true
      timer?.cancel()
      await round
    },
  }
}
