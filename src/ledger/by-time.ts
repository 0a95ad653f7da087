import type { Ledger } from './ledger.ts'

/** Index of the first entry at or after a time (ms since the epoch), or the size of the log. Times never go back, so few are looked at. */
export async function firstEntryAt(ledger: Pick<Ledger, 'get' | 'head'>, timeMs: number): Promise<number> {
  let [low, high] = [0, ledger.head().size]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const stored = await ledger.get(middle)
    if (stored !== undefined && Date.parse(stored.entry.time) < timeMs) low = middle + 1
    else high = middle
  }
  return low
}
