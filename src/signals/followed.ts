import type { Entry } from '../ledger/entry.ts'
import type { StoredEntry } from '../ledger/ledger.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import type { Effect } from './event.ts'
import { moved, type Standing, standingEndsMs } from './standing.ts'
import { type Subject, subjectKey } from './subject.ts'

type Received = Extract<Entry, { kind: 'signal.received' }>

/** The subject, effect and moment of a received signal; `undefined` for one that named nobody. */
export function effectIn(
  entry: Received,
): { subject: Subject; effect: NonNullable<Received['effect']>; atMs: number } | undefined {
  const { issuer, subject, effect, event_time: time } = entry
  if (issuer === undefined || subject === undefined || effect === undefined || time === undefined) return undefined
  return { subject: { issuer, subject }, effect, atMs: Date.parse(time) }
}

/**
 * Follows the ledger and knows which entries about signals a restart must read: for each subject whose standing still matters the few
 * that make it what it is. Derived from the entries alone.
 */
export interface FollowedSignals {
  /** Must be shown every entry, in order. */
  see(stored: StoredEntry): void
  /** Indexes that still matter. */
  list(): readonly number[]
}

interface Step {
  readonly index: number
  readonly effect: Effect
  readonly atMs: number
}

interface Followed {
  readonly standing: Standing
  /** Steps that lead to the standing, and none without which it would be the same. */
  readonly steps: readonly Step[]
}

const standingOf = (subject: Subject, steps: readonly Step[]): Standing | undefined =>
  steps.reduce<Standing | undefined>((standing, { effect, atMs }) => moved(standing, subject, effect, atMs), undefined)

const isSame = (a: Standing | undefined, b: Standing): boolean =>
  (['endedBeforeMs', 'disabledAtMs', 'disabledLastMs', 'enabledAtMs'] as const).every((key) => a?.[key] === b[key])

export function createFollowedSignals(options: {
  readonly issuers: () => readonly IssuerPolicy[]
  readonly now: () => number
}): FollowedSignals {
  const subjects = new Map<string, Followed>()

  function followSignal(entry: Received, index: number): void {
    const found = effectIn(entry)
    if (found === undefined || found.effect === 'recorded' || found.effect === 'renamed') return
    const { subject, effect, atMs } = found
    const key = subjectKey(subject)
    const before = subjects.get(key)
    const standing = moved(before?.standing, subject, effect, atMs)
    let steps: readonly Step[] = [...(before?.steps ?? []), { index, effect, atMs }]
    for (const step of steps) {
      const without = steps.filter((other) => other !== step)
      if (isSame(standingOf(subject, without), standing)) steps = without
    }
    subjects.set(key, { standing, steps })
  }

  return {
    see({ entry, index }) {
      if (entry.kind === 'signal.received') followSignal(entry, index)
    },
    list() {
      const now = options.now()
      const indexes: number[] = []
      for (const [key, { standing, steps }] of subjects) {
        if ((standingEndsMs(standing, options.issuers()) ?? Number.POSITIVE_INFINITY) <= now) subjects.delete(key)
        else for (const { index } of steps) indexes.push(index)
      }
      return indexes
    },
  }
}
