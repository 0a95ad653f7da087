import { createMeaning } from './meaning.ts'
import type { Problem } from './problem.ts'
import type { Range } from './ranges.ts'
import type { LearntKey } from './trust.ts'
import type { MeaningState } from './verify-state-schema.ts'

/** Entries that follow one another, in a file or a part of one. */
export interface EntryBatch {
  /** Index of the first. */
  readonly first: number
  readonly path: string
  readonly bytes: Buffer
  /** Where each entry starts and ends in `bytes`. */
  readonly spans: Uint32Array<ArrayBuffer>
  /** Where `bytes` starts in the file. */
  readonly base: number
}

/** Checks the entries of a log, from the first to the last: each one's form, and the story that they tell together. */
export interface EntryCheck {
  /** Takes the next entries and says what is wrong with them. The bytes may be used again as soon as it has returned. */
  next(batch: EntryBatch): Promise<readonly Problem[]>
  /** Entries that cannot be read come next. */
  skip(): void
  /** What the entries up to here say of the log itself. */
  said(): Promise<Said>
  /** What the meaning of later entries rests on; with `said`, another check can go on from here. */
  meaning(): Promise<MeaningState>
  close(): Promise<void>
}

/** What a log says of itself. */
export interface Said {
  /** Entries whose bundles were moved to another folder. */
  readonly archived: readonly Range[]
  /** Keys that it was passed on to. */
  readonly learnt: readonly LearntKey[]
}

/** Takes entries of others as they are. */
export function acceptAnyEntries(): EntryCheck {
  return {
    next: async () => [],
    skip() {},
    said: async () => ({ archived: [], learnt: [] }),
    meaning: async () => createMeaning().state(),
    close: async () => {},
  }
}

/** Whether the first entry of a log can have been written by any version of writ. */
export function looksOurs(payload: Buffer): boolean {
  try {
    const value: unknown = JSON.parse(payload.toString('utf8'))
    return typeof value === 'object' && value !== null && 'kind' in value && 'v' in value && 'time' in value
  } catch {
    return false
  }
}
