import { tileWidth } from '../log/tile.ts'
import type { Archived, Fact } from './fact.ts'
import { createMeaning } from './meaning.ts'
import type { Problem } from './problem.ts'
import { createRanges, mostRanges, type Range } from './ranges.ts'
import type { Trust } from './trust.ts'
import type { MeaningState } from './verify-state-schema.ts'

/** What the entries of a log say together: the life of each grant, which keys sign, and which entries were moved elsewhere. */
export interface Story {
  /** Takes what the entry at that place says and returns what is wrong with it. */
  next(fact: Fact, at: { readonly index: number; readonly path: string; readonly offset?: number }): readonly Problem[]
  /** Entries that cannot be read come next. */
  skip(): void
  /** Entries whose bundles were moved to another folder. */
  readonly archived: readonly Range[]
  meaning(): MeaningState
}

/** What a story goes on from. */
export interface StoryState {
  readonly meaning: MeaningState
  readonly archived: readonly Range[]
}

/** `trust` grows with the rotations that are read. */
export function createStory(trust: Trust, from?: StoryState): Story {
  const meaning = createMeaning(from?.meaning)
  const archived = createRanges(from?.archived)

  return {
    next(fact, at) {
      const problem = (rule: string) => (message: string | undefined) =>
        message === undefined ? [] : [{ rule, message: `entry ${at.index}: ${message}`, ...at }]
      const wrong = meaning.next(fact).flatMap(problem('meaning'))
      if (fact.rotation !== undefined) wrong.push(...problem('rotation')(trust.learn(fact.rotation)))
      if (fact.archived !== undefined) wrong.push(...problem('archive')(archive(fact.archived, at.index)))
      return wrong
    },
    skip: meaning.skip,
    archived: archived.all,
    meaning: meaning.state,
  }

  function archive({ from, to, bundles }: Archived, index: number): string | undefined {
    const whole = from % tileWidth === 0 && to - from === bundles * tileWidth
    if (!whole || bundles === 0 || to > index) return 'it names no full bundles before it'
    return archived.add([from, to]) ? undefined : `more than ${mostRanges} archives are not followed`
  }
}
