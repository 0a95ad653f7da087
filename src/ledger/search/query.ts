import { ok, type Result, refuse } from '../../base/result.ts'
import type { EntryFilter, EntryList, StoredEntryView } from '../../contract/ledger.ts'
import type { Ledger, StoredEntry } from '../ledger.ts'
import type { SearchLedger } from './search.ts'
import { type Condition, type TermName, termNames } from './terms.ts'

/** Queries that read at once. Each may cost a tenth of a second of the processor, and minting shares it with them. */
const mostAtOnce = 8

/** `owners` are the teams whose entries alone the caller may see; `undefined` is all entries. */
type Query = (filter: EntryFilter, owners: readonly string[] | undefined) => Promise<Result<EntryList>>

/**
 * Queries over one ledger, a few at a time, each a page. Refuses `draining` to one more: whoever may read must not be able to
 * stop the rest.
 */
export function createQueries(ledger: Pick<Ledger, 'get' | 'head'>, search: SearchLedger): Query {
  let reading = 0
  return async (filter, owners) => {
    if (reading >= mostAtOnce) {
      return refuse('draining', 'ledger.queries', `${mostAtOnce} are under way`, 1)
    }
    reading++
    try {
      const { after = -1, before = Number.MAX_SAFE_INTEGER, order, limit } = filter
      const { size } = ledger.head()
      const from = filter.from === undefined ? 0 : await firstNotBefore(ledger, filter.from, size)
      const to = filter.to === undefined ? size : await firstNotBefore(ledger, filter.to, size)
      const { entries, next } = await search({
        conditions: conditionsOf(filter, owners),
        from: Math.max(from, after + 1),
        to: Math.min(to, before),
        descending: order === 'desc',
        limit,
      })
      return ok({ entries: entries.map(entryView), next })
    } finally {
      reading--
    }
  }
}

/** What a filter and the caller's own bounds ask of an entry. */
export function conditionsOf(
  filter: { readonly [name in TermName]?: string | undefined },
  owners: readonly string[] | undefined,
): readonly Condition[] {
  const asked = termNames.flatMap((name) => {
    const value = filter[name]
    return value === undefined ? [] : [{ name, anyOf: [value] }]
  })
  return owners === undefined ? asked : [...asked, { name: 'owner', anyOf: owners }]
}

/** Index of the first of `size` entries that bears this time or a later one; times never go back. */
export async function firstNotBefore(ledger: Pick<Ledger, 'get'>, time: string, size: number): Promise<number> {
  let [low, high] = [0, size]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const stored = await ledger.get(middle)
    if (stored !== undefined && stored.entry.time < time) low = middle + 1
    else high = middle
  }
  return low
}

/** An entry on the wire, whole, so that its leaf hash can be recomputed. */
export const entryView = ({ index, leafHash, entry }: StoredEntry): StoredEntryView => ({
  index,
  leaf_hash: leafHash,
  entry,
})
