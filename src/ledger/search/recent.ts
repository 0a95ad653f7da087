import type { Ledger, StoredEntry } from '../ledger.ts'

/** Entries that are kept at least; twice as many at most. */
const keep = 1_024

/** The newest entries, kept while somebody reads along, so that many readers cost one another nothing. */
export interface Recent {
  /** Starts keeping entries; returns the function that leaves again. The last to leave empties it. */
  join(): () => void
  /** Up to `count` entries from `from` on; none when there are none yet; `undefined` when they must be read from the record. */
  take(from: number, count: number): readonly StoredEntry[] | undefined
  /** Resolves when the next entry is there, or when `ended` is aborted. */
  more(ended: AbortSignal): Promise<void>
}

export function createRecent(ledger: Pick<Ledger, 'head' | 'subscribe'>): Recent {
  const waiting = new Set<() => void>()
  let entries: StoredEntry[] = []
  let readers = 0
  let stop = (): void => {}

  function onEntry(stored: StoredEntry): void {
    if (entries.length === 2 * keep) entries = entries.slice(keep)
    entries.push(stored)
    for (const wake of waiting) wake()
  }

  return {
    join() {
      if (readers++ === 0) stop = ledger.subscribe(onEntry)
      return () => {
        if (--readers > 0) return
        stop()
        entries = []
      }
    },
    take(from, count) {
      if (from >= ledger.head().size) return []
      const first = entries[0]?.index ?? Number.POSITIVE_INFINITY
      const taken = from < first ? [] : entries.slice(from - first, from - first + count)
      return taken.length === 0 ? undefined : taken
    },
    more(ended) {
      return new Promise((resolve) => {
        const wake = (): void => {
          waiting.delete(wake)
          ended.removeEventListener('abort', wake)
          resolve()
        }
        waiting.add(wake)
        ended.addEventListener('abort', wake)
        if (ended.aborted) wake()
      })
    },
  }
}
