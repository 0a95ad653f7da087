import type { Clock } from '../base/clock.ts'
import { parseDuration } from '../base/duration.ts'
import { BrokerFault } from '../base/errors.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { Identity } from '../identity/identity.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import type { Indexing, State } from '../state/state.ts'
import type { Effect } from './event.ts'
import { type Subject, subjectKey } from './subject.ts'

/** What signals have said of one subject. All times are milliseconds since the epoch. */
export interface Standing extends Subject {
  /** What was issued before then is worth nothing. */
  readonly endedBeforeMs: number
  /** Since when the account is disabled; absent when it is not. */
  readonly disabledAtMs: number | undefined
  /** When it was last disabled, for as long as it is. */
  readonly disabledLastMs: number | undefined
  /** When it was last enabled, to tell a late signal from a new one. */
  readonly enabledAtMs: number | undefined
}

/** What is looked at of whoever presents a token. */
export type Bearer = Pick<Identity, 'issuer' | 'subject' | 'issuedAtMs' | 'claims'>

/** What signals have said of each subject, on top of State. */
export interface Standings {
  get(subject: Subject): Promise<Standing | undefined>
  /** @throws BrokerFault `state_unavailable` when no further subject can be remembered */
  makeRoom(): Promise<void>
  /** Takes note of an effect. Effects may come in any order and again. */
  apply(subject: Subject, effect: Effect, atMs: number): Promise<void>
  /**
   * Whether the tokens of this identity are still good. Refuses `account_disabled`, and `session_revoked` for a token from before
   * the event, or one that does not say (`iat`) when it was issued; one from within the second of the event passes.
   */
  check(identity: Bearer): Promise<Result<void>>
  /** Since when subjects are disabled, by their keys. Another map after each change. */
  disabled(): ReadonlyMap<string, number>
  /** Whether signals ever ended anything that is remembered. */
  any(): Promise<boolean>
}

/** Subjects that are remembered at once; a transmitter that speaks of more must wait for the operator. */
const mostHeld = 100_000
const held = 'held'
/** How long what was said is remembered where it need not be for longer, so that signals may overtake one another. */
const leastMs = 86_400_000

/**
 * Until when a standing matters: for good while the account is disabled, or where tokens of its issuer may be of any age; else
 * until every token from before the event is too old.
 */
export function standingEndsMs(standing: Standing, issuers: readonly IssuerPolicy[]): number | undefined {
  if (standing.disabledAtMs !== undefined) return undefined
  const said = Math.max(standing.endedBeforeMs, standing.enabledAtMs ?? 0)
  if (standing.endedBeforeMs === 0) return said + leastMs
  const { max_age: maxAge } = issuers.find(({ name }) => name === standing.issuer)?.token ?? {}
  const ageSeconds = maxAge === undefined ? undefined : parseDuration(maxAge)
  return ageSeconds === undefined ? undefined : said + leastMs + ageSeconds * 1000
}

/** The standing after an effect. A later event counts, whatever the order in which two arrive. */
export function moved(before: Standing | undefined, subject: Subject, effect: Effect, atMs: number): Standing {
  const { issuer, subject: sub } = subject
  const nothing = { endedBeforeMs: 0, disabledAtMs: undefined, disabledLastMs: undefined, enabledAtMs: undefined }
  const present: Standing = before ?? { issuer, subject: sub, ...nothing }
  const { disabledAtMs, disabledLastMs, enabledAtMs = 0 } = present
  switch (effect) {
    case 'recorded':
    case 'renamed':
      return present
    case 'ended':
      return { ...present, endedBeforeMs: Math.max(present.endedBeforeMs, atMs) }
    case 'disabled': {
      const ended = { ...present, endedBeforeMs: Math.max(present.endedBeforeMs, atMs) }
      if (enabledAtMs > atMs) return ended
      const lastMs = Math.max(disabledLastMs ?? atMs, atMs)
      return { ...ended, disabledAtMs: Math.min(disabledAtMs ?? atMs, atMs), disabledLastMs: lastMs }
    }
    case 'enabled': {
      const enabled = { ...present, enabledAtMs: Math.max(enabledAtMs, atMs) }
      if (disabledLastMs === undefined || disabledAtMs === undefined || disabledLastMs <= atMs)
        return { ...enabled, disabledAtMs: undefined, disabledLastMs: undefined }
      // It was disabled again after that; when first, the standing no longer tells.
      return { ...enabled, disabledAtMs: disabledAtMs <= atMs ? disabledLastMs : disabledAtMs }
    }
  }
}

export function createStandings(deps: {
  readonly state: State
  readonly issuers: () => readonly IssuerPolicy[]
  readonly clock: Pick<Clock, 'now'>
}): Standings {
  const { state, issuers } = deps
  // Few of all subjects, and what the leavers are reckoned from: kept beside the state, so that a request need not ask for each.
  let disabled: ReadonlyMap<string, number> = new Map()

  const indexingOf = (standing: Standing): Indexing => {
    const endsMs = standingEndsMs(standing, issuers())
    return { labels: [held], ...(endsMs === undefined ? {} : { forgetAtMs: endsMs }) }
  }
  const get = async (subject: Subject): Promise<Standing | undefined> =>
    (await state.get('subject', subjectKey(subject)))?.value as Standing | undefined

  function follow(standing: Standing): void {
    const key = subjectKey(standing)
    if (disabled.get(key) === standing.disabledAtMs) return
    const next = new Map(disabled)
    if (standing.disabledAtMs === undefined) next.delete(key)
    else next.set(key, standing.disabledAtMs)
    disabled = next
  }

  return {
    get,
    async makeRoom() {
      if ((await state.count('subject', held)) < mostHeld) return
      throw new BrokerFault('state_unavailable', `signals about ${mostHeld} subjects are remembered already`)
    },
    async apply(subject, effect, atMs) {
      if (effect === 'recorded' || effect === 'renamed') return
      const id = subjectKey(subject)
      for (;;) {
        const stored = await state.get('subject', id)
        const next = moved(stored?.value as Standing | undefined, subject, effect, atMs)
        if (stored === undefined) {
          const { outcome } = await state.insert('subject', id, next, indexingOf(next))
          if (outcome === 'exists') continue
        } else if (!(await state.swap('subject', id, stored.version, next, indexingOf(next)))) continue
        follow(next)
        return
      }
    },
    async check(identity) {
      const standing = await get(identity)
      if (standing === undefined) return ok(undefined)
      if (standing.disabledAtMs !== undefined) {
        return refuse(
          'account_disabled',
          'signals.account',
          `disabled since ${new Date(standing.disabledAtMs).toISOString()}`,
        )
      }
      // A token bears whole seconds, so it may have been issued as late as the end of its own.
      const isDated = typeof identity.claims.iat === 'number'
      if (standing.endedBeforeMs === 0 || (isDated && identity.issuedAtMs + 1000 >= standing.endedBeforeMs))
        return ok(undefined)
      const before = new Date(standing.endedBeforeMs).toISOString()
      return refuse('session_revoked', 'signals.session', `what was issued before ${before} is worth nothing`)
    },
    disabled: () => disabled,
    any: async () => (await state.count('subject', held)) > 0,
  }
}
