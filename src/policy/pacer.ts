import { setImmediate } from 'node:timers/promises'

// A request that arrives meanwhile waits for at most one turn and whatever one item takes.
const turnMs = 8

/** Returns a function to await between items of long work: it lets other work run once a turn has lasted 8 ms. */
export function createPacer(): () => Promise<void> | undefined {
  let startedMs = performance.now()
  return () => {
    if (performance.now() - startedMs < turnMs) return undefined
    return setImmediate().then(() => {
      startedMs = performance.now()
    })
  }
}
