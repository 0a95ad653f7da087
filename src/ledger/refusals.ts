import { bounded } from '../base/bounded.ts'
import type { Clock } from '../base/clock.ts'
import type { Refusal } from '../base/result.ts'
import type { EntryBody } from './entry.ts'
import type { Ledger } from './ledger.ts'

type Denied = Extract<EntryBody, { kind: 'request.denied' }>
/** Everything a refusal's entry says besides the refusal. */
export type DeniedAbout = Omit<Denied, 'kind' | 'code' | 'rules' | 'suppressed'>

/** Entries a second that one caller may cause, and all whom nobody vouches for together; the rest is counted into the next. */
const perSecond = 50
const mostRules = 32

/**
 * Records refusals. Under a flood they are thinned, so that neither a stranger nor the holder of one token can fill the disk;
 * the entries say how many further refusals of the same caller they stand for, so that none goes uncounted.
 */
export interface Refusals {
  /** Resolves when the refusal is durable, or counted. @throws BrokerFault `ledger_unavailable` */
  record(about: DeniedAbout, refusal: Refusal): Promise<void>
}

interface Tally {
  second: number
  used: number
  suppressed: number
}

export function createRefusals({ ledger, clock }: { ledger: Ledger; clock: Clock }): Refusals {
  // One for each workload and person of the policies that was ever refused, and one for everybody else.
  const tallies = new Map<string, Tally>()

  return {
    async record(about, refusal) {
      const caller = callerOf(about)
      const tally = tallies.get(caller) ?? { second: 0, used: 0, suppressed: 0 }
      tallies.set(caller, tally)
      const now = Math.floor(clock.now() / 1000)
      if (now !== tally.second) Object.assign(tally, { second: now, used: 0 })
      if (++tally.used > perSecond) {
        tally.suppressed++
        return
      }
      const standsFor = tally.suppressed
      tally.suppressed = 0
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

/** Who is counted together. What a token says of itself tells nobody apart who was not recognised. */
function callerOf({ actor }: DeniedAbout): string {
  if (actor.type === 'workload') return `workload ${actor.name}`
  return actor.type === 'person' ? `person ${actor.issuer}/${actor.subject}` : ''
}
