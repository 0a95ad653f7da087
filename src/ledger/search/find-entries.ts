import { parseBundle, type TileId, tileWidth, widthAt } from '../log/tile.ts'

/** An entry as it was recorded. */
export interface FoundEntry {
  readonly index: number
  /** Canonical JSON, where the log is one of ours. */
  readonly bytes: Buffer
}

/** Bytes of an entry bundle. Throws when there is none. */
export type ReadBundle = (id: TileId) => Promise<Buffer>

const bundleAt = (size: number, n: number): TileId => ({ level: 'entries', n, width: widthAt(size, 'entries', n) })

/**
 * The entry at an index of a log of `size` entries.
 * @throws RangeError when it is not that long; BundleError; whatever `readBundle` throws
 */
export async function entryAt(readBundle: ReadBundle, size: number, index: number): Promise<FoundEntry> {
  const id = bundleAt(size, Math.floor(index / tileWidth))
  const bytes = id.width === 0 ? undefined : parseBundle(await readBundle(id), id.width)[index % tileWidth]
  if (bytes === undefined) throw new RangeError(`no entry ${index} in ${size}`)
  return { index, bytes }
}

/**
 * Entries that name an id (a field of theirs is exactly that text), the newest first. It stops at the entry that a grant, task or
 * approval of that id begins with, and holds one bundle at a time. That an entry is missing here proves nothing: whoever
 * gives the bundles can leave one out.
 * @throws BundleError; whatever `readBundle` throws
 */
export async function* findEntries(readBundle: ReadBundle, size: number, id: string): AsyncGenerator<FoundEntry> {
  const needle = JSON.stringify(id)
  for (let n = Math.ceil(size / tileWidth) - 1; n >= 0; n--) {
    const bundle = bundleAt(size, n)
    const bytes = await readBundle(bundle)
    // Many times faster than reading its entries, and most bundles do not have it.
    if (!bytes.includes(needle)) continue
    for (const [place, entry] of [...parseBundle(bytes, bundle.width).entries()].reverse()) {
      const fields = entry.includes(needle) ? fieldsOf(entry) : {}
      if (!names(fields, id)) continue
      yield { index: n * tileWidth + place, bytes: entry }
      if (begins(fields, id)) return
    }
  }
}

type Fields = Readonly<Record<string, unknown>>

/** The fields of an entry; none of one that is no JSON object. */
export function fieldsOf(entry: Buffer): Fields {
  try {
    const value: unknown = JSON.parse(entry.toString())
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

// Entries of ours are no deeper, and those of others may be deeper than a call can go.
function names(value: unknown, id: string, levels = 4): boolean {
  if (typeof value !== 'object' || value === null) return value === id
  return levels > 0 && Object.values(value).some((inner) => names(inner, id, levels - 1))
}

/** For each kind of thing that has a life in the ledger, the entry that opens it. */
const beginnings = {
  'grant.intent': 'grant',
  'task.opened': 'task',
  'approval.requested': 'approval',
  'revocation.ordered': 'revocation',
} as const

const begins = (entry: Fields, id: string): boolean =>
  Object.entries(beginnings).some(([kind, field]) => entry.kind === kind && entry[field] === id)
