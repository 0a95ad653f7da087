import { bounded } from '../base/bounded.ts'
import type { Clock } from '../base/clock.ts'
import type { Refusal } from '../base/result.ts'
import type { EntryBody } from './entry.ts'
import type { Ledger } from './ledger.ts'

type Denied = Extract<EntryBody, { kind: 'request.denied' }>
/** Everything a refusal's entry says besides the refusal. */
export type DeniedAbout = Omit<Denied, 'kind' | 'code' | 'rules' | 'suppressed'>

/** Entries a second that callers nobody vouches for may cause; the rest is counted into the next entry. */
const unprovedPerSecond = 50
const mostRules = 32

/**
 * Records refusals. Each refusal of a proved caller is an entry of its own; those of unproved callers are thinned
 * under a flood, so that a stranger cannot fill the disk, and the entries say how many they stand for.
 */
export interface Refusals {
  /** Resolves when the refusal is durable, or counted. @throws BrokerFault `ledger_unavailable` */
  record(about: DeniedAbout, refusal: Refusal): Promise<void>
}

export function createRefusals({ ledger, clock }: { ledger: Ledger; clock: Clock }): Refusals {
  let second = 0
  let used = 0
  let suppressed = 0

  return {
    async record(about, refusal) {
      if (about.actor.type === 'unproved') {
        const now = Math.floor(clock.now() / 1000)
        if (now !== second) [second, used] = [now, 0]
        if (++used > unprovedPerSecond) {
          suppressed++
          return
        }
      }
      const standsFor = suppressed
      suppressed = 0
      await ledger.append({
        ...about,
        kind: 'request.denied',
        code: refusal.code,
        rules: refusal.reasons
          .slice(-mostRules)
          .map(({ rule, ok, detail }) => ({ rule: bounded(rule, 200), ok, detail: bounded(detail) })),
        suppressed: standsFor === 0 ? undefined : standsFor,
      })
    },
  }
}
