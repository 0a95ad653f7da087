import type { Clock, Timer } from './clock.ts'

/** Work that is done again and again, one round after the other. */
export interface Rounds {
  /** One more round, after those that were asked for before. */
  once(): Promise<void>
  start(): void
  /** Stops after the round under way. */
  stop(): Promise<void>
}

/** `look` is one round, and must never reject; `everyMs` is from the end of one to the start of the next. */
export function createRounds(clock: Clock, everyMs: number, look: () => Promise<void>): Rounds {
  let timer: Timer | undefined
  let round: Promise<void> = Promise.resolve()
  let stopped = false

  function once(): Promise<void> {
    round = round.then(look)
    return round
  }

  function schedule(): void {
    if (stopped) return
    timer = clock.after(everyMs, () => void once().finally(schedule))
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
