import { BrokerFault } from '../../base/errors.ts'
import { entrySchema } from '../entry.ts'
import type { Ledger, StoredEntry } from '../ledger.ts'
import { leafHash } from '../log/merkle.ts'
import type { PublishedLog } from '../log/published.ts'
import { hashBytes, parseBundle, tileWidth, widthAt } from '../log/tile.ts'
import type { EntryIndex } from './entry-index.ts'
import { bundlesPerFile, entriesPerFile } from './index-file.ts'
import { type Condition, meets, needleOf } from './terms.ts'

/** Bundles one search reads at most; each is some 200 KiB. */
const mostBundles = 256
/** Groups of 65,536 entries that one search asks the index about at most. */
const mostGroups = 1_024

/** Which entries are looked for, and where. */
export interface Search {
  readonly conditions: readonly Condition[]
  /** From this index on, */
  readonly from: number
  /** and before this one. */
  readonly to: number
  /** Newest first. */
  readonly descending: boolean
  readonly limit: number
}

export interface Found {
  /** In the order that was asked for. */
  readonly entries: readonly StoredEntry[]
  /** The last index that was looked at, going up; the one before which to go on, going down; null when all was looked at. */
  readonly next: number | null
}

/** Looks through the record with the help of the index; every entry it gives was read back and compared. Bounded in what it reads. */
export type SearchLedger = (search: Search) => Promise<Found>

/** @throws BrokerFault `ledger_unavailable` (by the result) when the record cannot be read back. */
export function createSearch(ledger: Ledger & PublishedLog, index: Pick<EntryIndex, 'mayHold'>): SearchLedger {
  return async ({ conditions, from, to, descending, limit }) => {
    const entries: StoredEntry[] = []
    const stop = (next: number): Found => ({ entries, next: next === (descending ? from : to - 1) ? null : next })
    let [groupsLeft, bundlesLeft] = [mostGroups, mostBundles]
    for (const group of places(from, to, entriesPerFile, descending)) {
      const [first, end] = [group * entriesPerFile, (group + 1) * entriesPerFile]
      if (groupsLeft-- === 0) return stop(descending ? end : first - 1)
      const flags = await index.mayHold(group, conditions)
      for (const n of places(Math.max(from, first), Math.min(to, end), tileWidth, descending)) {
        if (flags[n % bundlesPerFile] === 0) continue
        if (bundlesLeft-- === 0) return stop(descending ? (n + 1) * tileWidth : n * tileWidth - 1)
        const rows = await readBundle(ledger, n, { from, to, conditions })
        for (const read of descending ? rows.reverse() : rows) {
          const stored = read()
          if (!meets(stored.entry, conditions)) continue
          entries.push(stored)
          if (entries.length === limit) return stop(stored.index)
        }
      }
    }
    return { entries, next: null }
  }
}

/** Places of the units of `width` entries that the entries `from` up to `to` stand in. */
function* places(from: number, to: number, width: number, descending: boolean): Generator<number> {
  const [first, last] = [Math.floor(from / width), Math.floor((to - 1) / width)]
  if (to <= from) return
  for (let i = 0; i <= last - first; i++) yield descending ? last - i : first + i
}

type Row = () => StoredEntry

/** The entries of a bundle, ascending, that may meet the conditions; each is parsed when it is called for. */
async function readBundle(
  ledger: Ledger & PublishedLog,
  n: number,
  { from, to, conditions }: Pick<Search, 'from' | 'to' | 'conditions'>,
): Promise<Row[]> {
  const first = n * tileWidth
  const [low, high] = [Math.max(from, first), Math.min(to, first + tileWidth)]
  const needles = conditions.map(({ name, anyOf }) => anyOf.map((value) => needleOf(name, value)))
  const width = widthAt(ledger.signedSize(), 'entries', n)
  const published = width === 0 ? [] : await publishedEntries(ledger, n, width)
  const rows: { readonly bytes: Buffer; readonly index: number }[] = []
  for (let index = low; index < Math.min(high, first + width); index++) {
    const bytes = published[index - first] ?? Buffer.of()
    if (needles.every((some) => some.some((needle) => bytes.includes(needle)))) rows.push({ bytes, index })
  }
  const hashes = rows.length === 0 ? undefined : await ledger.tile({ level: 0, n, width })
  const found: Row[] = rows.map((row) => () => parse(row, hashes?.subarray((row.index - first) * hashBytes)))
  // What no checkpoint covers yet.
  const rest = Math.max(low, first + width)
  if (rest >= high) return found
  for await (const stored of ledger.read(rest)) {
    found.push(() => stored)
    if (stored.index === high - 1) break
  }
  return found
}

async function publishedEntries(ledger: PublishedLog, n: number, width: number): Promise<readonly Buffer[]> {
  try {
    return parseBundle((await ledger.tile({ level: 'entries', n, width })) ?? Buffer.of(), width)
  } catch (cause) {
    throw unreadable(`entry bundle ${n}`, cause)
  }
}

/** `hashes` begins with the leaf hash that the tree was built over: what was read back may be something else. */
function parse({ bytes, index }: { bytes: Buffer; index: number }, hashes: Buffer | undefined): StoredEntry {
  const hash = Buffer.from(leafHash(bytes))
  if (hashes?.subarray(0, hashBytes).equals(hash) !== true) throw unreadable(`entry ${index}`)
  try {
    return { index, leafHash: hash.toString('hex'), entry: entrySchema.parse(JSON.parse(bytes.toString())) }
  } catch (cause) {
    throw unreadable(`entry ${index}`, cause)
  }
}

const unreadable = (what: string, cause?: unknown): BrokerFault =>
  new BrokerFault('ledger_unavailable', `${what} cannot be read back`, { cause })
