import { ok, type Result, refuse } from '../base/result.ts'
import type { EntryFilter, EntryList, StoredEntryView } from '../contract/ledger.ts'
import type { Ledger, StoredEntry } from './ledger.ts'

/** Entries one query reads at most; a page that ends early says where to go on. */
const mostRead = 20_000
/** Queries that read at once. Each costs a fifth of a second of the processor, and minting shares it with them. */
const mostAtOnce = 8

type Query = (filter: EntryFilter, allowed: (stored: StoredEntry) => boolean) => Promise<Result<EntryList>>

/** Queries over one ledger, a few at a time. Refuses `draining` to one more: whoever may read must not be able to stop the rest. */
export function createQueries(ledger: Pick<Ledger, 'read'>): Query {
  let reading = 0
  return async (filter, allowed) => {
    if (reading >= mostAtOnce) {
      const { refusal } = refuse('draining', 'ledger.queries', `${mostAtOnce} are under way`)
      return { ok: false, refusal: { ...refusal, retryAfterSeconds: 1 } }
    }
    reading++
    try {
      return ok(await queryEntries(ledger, filter, allowed))
    } finally {
      reading--
    }
  }
}

/** A page of the entries that match and that `allowed` lets the caller see, oldest first. */
async function queryEntries(
  ledger: Pick<Ledger, 'read'>,
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
