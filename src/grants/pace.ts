import { type Clock, sleep } from '../base/clock.ts'
import { inParallel } from '../base/in-parallel.ts'

/** What became of a series of calls. */
export interface Series {
  readonly failed: number
  /** What the first that failed threw. */
  readonly failure: unknown
  /** It ended early: too many failed, or the broker stops. */
  readonly cut: boolean
}

/** Calls to Vault that must not get in the way of requests: so many side by side, and so many a second. */
export interface Pace {
  /** Runs `work` for each item; rejects never. Gives the rest up when it fails too often: Vault is not to be hammered while it is ill. */
  each<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<Series>
  /** From now on no item is begun. */
  stop(): void
  readonly stopped: boolean
}

const mostFailures = 20

export function createPace(options: {
  readonly atOnce: number
  readonly perSecond: number
  readonly clock: Clock
}): Pace {
  const { atOnce, perSecond, clock } = options
  const apartMs = 1_000 / perSecond
  let nextMs = 0
  let stopped = false

  /** Waits for a place in time. What was not used is not saved up, but for a timer that comes late. */
  async function turn(): Promise<void> {
    const now = clock.now()
    nextMs = Math.max(nextMs + apartMs, now - 50)
    if (nextMs > now + 1) await sleep(clock, nextMs - now)
  }

  return {
    async each<T>(items: Iterable<T>, work: (item: T) => Promise<void>) {
      let failed = 0
      let failure: unknown
      let cut = false
      async function one(item: T): Promise<void> {
        await turn()
        cut ||= stopped || failed >= mostFailures
        if (cut) return
        try {
          await work(item)
        } catch (thrown) {
          failed += 1
          failure ??= thrown
        }
      }
      await inParallel(items, atOnce, one, () => cut)
      return { failed, failure, cut }
    },
    stop() {
      stopped = true
    },
    get stopped() {
      return stopped
    },
  }
}
