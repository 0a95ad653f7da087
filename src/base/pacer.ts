import { setImmediate } from 'node:timers/promises'

// A request takes some six turns of the loop, and each of them may have to wait for one of ours.
const turnMs = 2

/** Returns a function to await between items of long work: it lets other work run once a turn has lasted 2 ms. */
export function createPacer(): () => Promise<void> | undefined {
  let startedMs = performance.now()
  return () => {
    if (performance.now() - startedMs < turnMs) return undefined
    return setImmediate().then(() => {
      startedMs = performance.now()
    })
  }
}
