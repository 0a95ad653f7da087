import type { Clock } from '../../src/base/clock.ts'

/** A clock that stands still until the test moves it; timers run in order as time passes them. */
export interface FakeClock extends Clock {
  /** Moves time on by `ms`, running every timer that falls due, and lets promises settle between timers. */
  advance(ms: number): Promise<void>
}

export function fakeClock(startMs = Date.UTC(2026, 10, 22, 12)): FakeClock {
  let nowMs = startMs
  let sequence = 0
  const timers = new Map<number, { dueMs: number; run: () => void }>()
  // Several rounds of the task queue: enough for a chain of awaited promises without real I/O to settle.
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) await new Promise<void>((resolve) => setImmediate(resolve))
  }
  return {
    now: () => nowMs,
    after(delayMs, run) {
      const id = ++sequence
      timers.set(id, { dueMs: nowMs + Math.max(0, delayMs), run })
      return { cancel: () => timers.delete(id) }
    },
    async advance(ms) {
      const endMs = nowMs + ms
      for (;;) {
        const next = [...timers]
          .filter(([, timer]) => timer.dueMs <= endMs)
          .sort(([a, x], [b, y]) => x.dueMs - y.dueMs || a - b)[0]
        if (next === undefined) break
        timers.delete(next[0])
        nowMs = Math.max(nowMs, next[1].dueMs)
        next[1].run()
        await settle()
      }
      nowMs = endMs
      await settle()
    },
  }
}

/** Real time for I/O, with timers that run out when the test says so. */
export function expiringClock(): Clock & { expire(): void } {
  const due = new Set<() => void>()
  return {
    now: () => Date.now(),
    after(_, run) {
      due.add(run)
      return { cancel: () => void due.delete(run) }
    },
    expire() {
      for (const run of due) run()
    },
  }
}
