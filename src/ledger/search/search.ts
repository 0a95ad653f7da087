import { setImmediate as nextTurn } from 'node:timers/promises'
import { BrokerFault } from '../../base/errors.ts'
import { entrySchema } from '../entry.ts'
import type { Ledger, StoredEntry } from '../ledger.ts'
import { leafHash } from '../log/merkle.ts'
import type { PublishedLog } from '../log/published.ts'
import { hashBytes, tileWidth, widthAt } from '../log/tile.ts'
import { type Bundle, createBundles, type ReadBundle } from './bundles.ts'
import type { EntryIndex } from './entry-index.ts'
import { bundlesPerFile, entriesPerFile } from './index-file.ts'
import { type Condition, meets, needleOf } from './terms.ts'

/** Bundles one search reads at most; each is some 200 KiB. */
const mostBundles = 256
/** Groups of 65,536 entries that one search asks the index about at most. */
const mostGroups = 1_024
/** Bundles that are being read at once for one search. */
const mostAhead = 4
/** Looking through one takes some tenth of a millisecond. */
const bundlesPerTurn = 8

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

/** The search over a ledger. @throws BrokerFault (its promise) `ledger_unavailable` when the record cannot be read back */
export function createSearch(ledger: Ledger & PublishedLog, index: Pick<EntryIndex, 'mayHold'>): SearchLedger {
  const bundles = createBundles(ledger)
  return async (search) => {
    const { conditions, from, to, descending, limit } = search
    const entries: StoredEntry[] = []
    const read = async (place: Place) => ('stop' in place ? place : rowsOf(ledger, bundles, place.bundle, search))
    for await (const rows of readAhead(placesToLook(index, search), read)) {
      if ('stop' in rows) return { entries, next: rows.stop }
      for (const row of descending ? rows.reverse() : rows) {
        const stored = row()
        if (!meets(stored.entry, conditions)) continue
        entries.push(stored)
        if (entries.length < limit) continue
        return { entries, next: stored.index === (descending ? from : to - 1) ? null : stored.index }
      }
    }
    return { entries, next: null }
  }
}

/** A bundle to be read, or where to go on because enough was read. */
type Place = { readonly bundle: number } | { readonly stop: number }

/** The bundles that may hold what is looked for, in order. */
async function* placesToLook(
  index: Pick<EntryIndex, 'mayHold'>,
  { conditions, from, to, descending }: Search,
): AsyncGenerator<Place, void, undefined> {
  let [groups, bundles] = [0, 0]
  for (const group of unitsOf(from, to, entriesPerFile, descending)) {
    const [first, end] = [group * entriesPerFile, (group + 1) * entriesPerFile]
    if (groups++ === mostGroups) return yield { stop: descending ? end : first - 1 }
    const flags = await index.mayHold(group, conditions)
    for (const bundle of unitsOf(Math.max(from, first), Math.min(to, end), tileWidth, descending)) {
      if (flags[bundle % bundlesPerFile] === 0) continue
      if (bundles++ === mostBundles) {
        return yield { stop: descending ? (bundle + 1) * tileWidth : bundle * tileWidth - 1 }
      }
      yield { bundle }
    }
  }
}

/** The units of `width` entries that the entries `from` up to `to` stand in. */
function* unitsOf(from: number, to: number, width: number, descending: boolean): Generator<number> {
  if (to <= from) return
  const [first, last] = [Math.floor(from / width), Math.floor((to - 1) / width)]
  for (let i = 0; i <= last - first; i++) yield descending ? last - i : first + i
}

/** Reads places in their order, a few before they are called for: one at first, because one may be all that is needed. */
async function* readAhead<T>(
  places: AsyncIterator<Place>,
  read: (place: Place) => Promise<T>,
): AsyncGenerator<T, void, undefined> {
  const reading: Promise<T>[] = []
  let [more, count] = [true, 0]
  for (let ahead = 1; ; ahead = Math.min(mostAhead, ahead * 2)) {
    // Bundles that are at hand are read without ever waiting, and others want their turn.
    if (count++ % bundlesPerTurn === 0) await nextTurn()
    while (more && reading.length < ahead) {
      const next = await places.next()
      more = next.done !== true
      if (next.done === true) break
      const begun = read(next.value)
      // Nobody may come to call for it.
      begun.catch(() => {})
      reading.push(begun)
    }
    const first = reading.shift()
    if (first === undefined) return
    yield await first
  }
}

type Row = () => StoredEntry

/** The entries of a bundle, ascending, that may be looked for; each is parsed when it is called for. */
async function rowsOf(
  ledger: Ledger & PublishedLog,
  read: ReadBundle,
  n: number,
  { from, to, conditions }: Search,
): Promise<Row[]> {
  const first = n * tileWidth
  const [low, high] = [Math.max(from, first), Math.min(to, first + tileWidth)]
  const width = widthAt(ledger.signedSize(), 'entries', n)
  const rows: Row[] = []
  if (low < first + width) {
    const bundle = await read(n, width)
    for (const place of placesHolding(bundle, conditions)) {
      if (first + place >= low && first + place < high) rows.push(() => parse(bundle, place, first + place))
    }
  }
  // What no checkpoint covers yet.
  const rest = Math.max(low, first + width)
  if (rest >= high) return rows
  for await (const stored of ledger.read(rest)) {
    rows.push(() => stored)
    if (stored.index === high - 1) break
  }
  return rows
}

/** Places of the entries whose bytes hold one of the values of each condition. The first looks through all bytes at once. */
function placesHolding(bundle: Bundle, conditions: readonly Condition[]): readonly number[] {
  const [first, ...rest] = conditions.map(({ name, anyOf }) => anyOf.map((value) => needleOf(name, value)))
  const { entries } = bundle
  const places = first === undefined ? [...entries.keys()] : placesOf(bundle, first)
  return places.filter((place) => rest.every((needles) => needles.some((needle) => entries[place]?.includes(needle))))
}

function placesOf({ bytes, entries }: Bundle, needles: readonly Buffer[]): readonly number[] {
  const end = (entry: Buffer = bytes): number => entry.byteOffset - bytes.byteOffset + entry.length
  const found = new Set<number>()
  for (const needle of needles) {
    let place = 0
    for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, end(entries[place]))) {
      // The places a needle is found at follow one another, as the entries do.
      while (place < entries.length && end(entries[place]) <= at) place++
      found.add(place)
    }
  }
  return [...found].sort((a, b) => a - b)
}

/** What was read back may be something else than what the tree was built over. */
function parse({ entries, hashes }: Bundle, place: number, index: number): StoredEntry {
  const bytes = entries[place] ?? Buffer.of()
  const hash = Buffer.from(leafHash(bytes))
  try {
    if (!hashes.subarray(place * hashBytes, (place + 1) * hashBytes).equals(hash))
      throw new Error('its hash is another')
    return { index, leafHash: hash.toString('hex'), entry: entrySchema.parse(JSON.parse(bytes.toString())) }
  } catch (cause) {
    throw new BrokerFault('ledger_unavailable', `entry ${index} cannot be read back`, { cause })
  }
}
