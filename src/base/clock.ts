/** A pending timer; cancelling twice is harmless. */
export interface Timer {
  cancel(): void
}

/** Time as a dependency, so that tests move it by hand. All values are milliseconds since the Unix epoch. */
export interface Clock {
  now(): number
  /** Runs `run` once, `delayMs` from now. A pending timer never keeps the process alive. */
  after(delayMs: number, run: () => void): Timer
}

// setTimeout overflows past 2^31-1 ms and would fire at once.
const longestTimeoutMs = 2 ** 31 - 1

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, run) {
    const handle = setTimeout(run, Math.min(Math.max(0, delayMs), longestTimeoutMs))
    handle.unref()
    return { cancel: () => clearTimeout(handle) }
  },
}

/** Resolves after `delayMs` on the given clock. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.after(delayMs, resolve))
}
