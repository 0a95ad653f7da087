import type { EntryFilter, EntryList, StoredEntryView } from '../contract/ledger.ts'
import type { Ledger, StoredEntry } from './ledger.ts'

/** Entries one query reads at most; a page that ends early says where to go on. */
const mostRead = 20_000

/** A page of the entries that match and that `allowed` lets the caller see, oldest first. */
export async function queryEntries(
  ledger: Ledger,
  filter: EntryFilter,
  allowed: (stored: StoredEntry) => boolean,
): Promise<EntryList> {
  const entries: StoredEntryView[] = []
  const first = filter.after === undefined ? 0 : filter.after + 1
  let next = first
  for await (const stored of ledger.read(first)) {
    if (entries.length === filter.limit || stored.index - first >= mostRead) return { entries, next: next - 1 }
    next = stored.index + 1
    if (matches(stored, filter) && allowed(stored)) entries.push(entryView(stored))
  }
  return { entries, next: null }
}

function matches({ entry }: StoredEntry, filter: EntryFilter): boolean {
  return (
    (filter.kind === undefined || entry.kind === filter.kind) &&
    (filter.workload === undefined || entry.workload === filter.workload) &&
    (filter.grant === undefined || entry.grant === filter.grant) &&
    (filter.owner === undefined || entry.owner === filter.owner) &&
    (filter.task === undefined || entry.task === filter.task) &&
    (filter.from === undefined || entry.time >= filter.from) &&
    (filter.to === undefined || entry.time < filter.to)
  )
}

/** An entry on the wire, whole, so that its leaf hash can be recomputed. */
export const entryView = ({ index, leafHash, entry }: StoredEntry): StoredEntryView => ({
  index,
  leaf_hash: leafHash,
  entry,
})
