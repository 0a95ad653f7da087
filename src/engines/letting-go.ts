import type { Clock, Timer } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { isRefusal } from './faults.ts'
import type { Generation, RawWrite } from './generation.ts'

/** What must be known of grants to tell when a token may go. */
export interface Hanging {
  /** Live grants whose secret dies with the token of that generation. */
  count(generation: number): Promise<number>
  /** The highest generation that any known grant names, so that no number is used twice. */
  highest(): number
}

/**
 * No token is let go of before: a mint may have begun under it, and be recorded only now. Longer than a mint can take
 * (`mintLostAfterMs`).
 */
const graceMs = 180_000
const everyMs = 60_000

/** Looks every minute, as long as there are earlier tokens, for those that no grant hangs on any more. */
export function createLettingGo(deps: {
  readonly clock: Clock
  readonly log: Log
  readonly write: RawWrite
  readonly hanging: Hanging
  /** All but the one that mints. */
  readonly earlier: () => readonly Generation[]
  readonly drop: (generation: Generation) => Promise<void>
}): { schedule(): void; close(): void } {
  const { clock, log, hanging, earlier } = deps
  let timer: Timer | undefined
  let closed = false

  function schedule(): void {
    timer?.cancel()
    if (closed || earlier().length === 0) return
    timer = clock.after(everyMs, () => void look().finally(schedule))
  }

  /**
   * Whatever the ledger does not account for may hang on such a token still: a mint whose outcome was lost. It is to end anyway,
   * and ends with the token.
   */
  async function look(): Promise<void> {
    for (const generation of earlier()) {
      const { number, given, token, supersededAtMs } = generation
      if (supersededAtMs === undefined || clock.now() - supersededAtMs < graceMs) continue
      try {
        if ((await hanging.count(number)) > 0) continue
        if (!given) await deps.write('auth/token/revoke-self', {}, token)
      } catch (thrown) {
        if (!isRefusal(thrown)) continue
        // Without that line it is let alone, and ends for want of renewal.
        log.warn({ generation: number, problem: messageOf(thrown) }, 'vault.token_not_revoked')
      }
      await deps.drop(generation)
      log.info({ generation: number }, 'vault.token_let_go')
    }
  }

  return {
    schedule,
    close() {
      closed = true
      timer?.cancel()
    },
  }
}
