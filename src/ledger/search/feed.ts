import type { Ledger, StoredEntry } from '../ledger.ts'
import { createRecent } from './recent.ts'
import type { SearchLedger } from './search.ts'
import { type Condition, meets } from './terms.ts'

/** Entries handed on together. */
const batchEntries = 64

/** What somebody who reads along asks for. */
export interface Following {
  /** Index of the first entry to look at. */
  readonly from: number
  /** Asked before each batch, so that what is no longer allowed is no longer given; `undefined` ends the feed. */
  conditions(): readonly Condition[] | undefined
  /** Ends the feed. */
  readonly ended: AbortSignal
}

/**
 * The entries that meet the conditions, in order and without gaps, first those on record and then those to come, some at a time.
 * Nothing is kept for a reader who takes them slowly: it reads on from where it is.
 */
export type Follow = (following: Following) => AsyncGenerator<readonly StoredEntry[], void, undefined>

/** Feeds over one ledger. What is past is read by one of them at a time. */
export function createFeeds(ledger: Pick<Ledger, 'head' | 'subscribe'>, search: SearchLedger): Follow {
  const recent = createRecent(ledger)
  let turn: Promise<unknown> = Promise.resolve()

  async function past(from: number, conditions: readonly Condition[]): Promise<Batch> {
    const to = ledger.head().size
    const found = turn.then(() => search({ conditions, from, to, descending: false, limit: batchEntries }))
    turn = found.catch(() => {})
    const { entries, next } = await found
    return { entries, next: next === null ? to : next + 1 }
  }

  return async function* follow({ from, conditions, ended }) {
    const leave = recent.join()
    try {
      for (let next = from; ; ) {
        const wanted = conditions()
        if (ended.aborted || wanted === undefined) return
        const live = recent.take(next, batchEntries)
        if (live?.length === 0) {
          await recent.more(ended)
          continue
        }
        const batch: Batch =
          live === undefined
            ? await past(next, wanted)
            : { entries: live.filter(({ entry }) => meets(entry, wanted)), next: next + live.length }
        next = batch.next
        if (batch.entries.length > 0) yield batch.entries
      }
    } finally {
      leave()
    }
  }
}

interface Batch {
  readonly entries: readonly StoredEntry[]
  /** Where to go on. */
  readonly next: number
}
