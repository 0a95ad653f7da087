import { ok, type Result, refuse } from '../../base/result.ts'

/** Counts requests in work and says no to one more than it takes. */
export interface Gate {
  /** Takes a place, or refuses with `draining`; the caller gives the place back with `leave`. */
  enter(): Result<undefined>
  leave(): void
  readonly inFlight: number
}

/** A gate for `max` requests at once. There is no queue: waiting would only move the overload into memory. */
export function createGate(max: number, isDraining: () => boolean): Gate {
  let inFlight = 0
  return {
    enter() {
      if (isDraining()) return refuse('draining', 'shutting down', 'draining')
      if (inFlight >= max) return refuse('draining', 'too many requests at once', `${max} in flight`)
      inFlight++
      return ok(undefined)
    },
    leave() {
      inFlight--
    },
    get inFlight() {
      return inFlight
    },
  }
}
