import type { Clock } from '../base/clock.ts'
import { timeHeap } from './heap.ts'

/** Sliding windows of hit times. A key has one window length for good. */
export interface Hits {
  /** Counts that many hits, at most `max` in the window; how long to wait (ms) when they did not all fit, else 0. */
  count(key: string, max: number, windowMs: number, hits?: number): number
  /** Hits the window holds now. */
  within(key: string): number
}

/** Times of hits, oldest first; those before `from` have left the window. */
interface Window {
  readonly lengthMs: number
  times: number[]
  from: number
}

// Times that have left are cut off in large pieces, so that counting costs the same however many hits a window holds.
const compactAt = 1024

/** Windows in memory. A window without hits is forgotten once it is over. */
export function createHits(clock: Pick<Clock, 'now'>): Hits {
  const windows = new Map<string, Window>()
  // One entry for each window, not for each hit.
  const ends = timeHeap()

  const forget = (now: number): void => {
    for (let top = ends.peek(); top !== undefined && top.atMs <= now; top = ends.peek()) {
      ends.pop()
      const window = windows.get(top.id)
      const endMs = (window?.times.at(-1) ?? 0) + (window?.lengthMs ?? 0)
      if (endMs <= now) windows.delete(top.id)
      else ends.push(endMs, top.id)
    }
  }

  const slide = (window: Window, now: number): number => {
    while (window.from < window.times.length && (window.times[window.from] ?? 0) + window.lengthMs <= now) {
      window.from++
    }
    if (window.from >= compactAt && window.from * 2 >= window.times.length) {
      window.times = window.times.slice(window.from)
      window.from = 0
    }
    return window.times.length - window.from
  }

  return {
    count(key, max, windowMs, hits = 1) {
      const now = clock.now()
      forget(now)
      const known = windows.get(key)
      const window = known ?? { lengthMs: windowMs, times: [], from: 0 }
      const held = slide(window, now)
      if (held + hits > max) {
        // So many of the latest may still be in the window then. More than `max` never fit, and wait as long as `max` would.
        const kept = Math.max(0, max - hits)
        return Math.max(1, (window.times.at(-kept - 1) ?? now) + windowMs - now)
      }
      for (let i = 0; i < hits; i++) window.times.push(now)
      if (known === undefined) {
        windows.set(key, window)
        ends.push(now + windowMs, key)
      }
      return 0
    },
    within(key) {
      const window = windows.get(key)
      return window === undefined ? 0 : slide(window, clock.now())
    },
  }
}
