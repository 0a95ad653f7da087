import { leafPrefix, sha256Text } from '../log/merkle.ts'
import { BundleError, bundleSpans, hashBytes, maxEntryBytes, type TileId, tilePath, tileWidth } from '../log/tile.ts'
import { type FoundTile, maxTileBytes, type TileSource } from '../source/tile-source.ts'
import type { EntryBatch } from './entry-check.ts'
import type { Problem } from './problem.ts'

/** An entry bundle, with its tile of leaf hashes. */
export interface BundleId {
  readonly n: number
  readonly width: number
}

/** The two files of a bundle; absent where they were not found. */
export interface FoundBundle {
  readonly id: BundleId
  readonly entries: FoundTile | undefined
  readonly hashes: FoundTile | undefined
}

/**
 * Finds a bundle of the log that the first source is; the others are looked through for what it has not.
 * @throws SourceError
 */
export async function findBundle(
  [log, ...archives]: readonly [TileSource, ...TileSource[]],
  id: BundleId,
): Promise<FoundBundle> {
  const hashes = await log.tile({ level: 0, ...id })
  let entries: FoundTile | undefined
  for (const source of [log, ...archives]) entries ??= await source.tile({ level: 'entries', ...id })
  return { id, entries, hashes }
}

/** The entries of a bundle; `undefined`, and a problem, where it does not hold them. */
export function entriesIn({ n, width }: BundleId, found: FoundTile, problems: Problems): EntryBatch | undefined {
  const { path, bytes } = found
  try {
    const spans = bundleSpans(bytes, found.width).subarray(0, 2 * width)
    return { first: n * tileWidth, path, bytes, spans, base: 0 }
  } catch (error) {
    if (!(error instanceof BundleError)) throw error
    const most = maxTileBytes({ level: 'entries', n, width })
    const wrong = bytes.length > most ? `it holds more than ${most} bytes` : error.message
    problems.push({ rule: 'bundle', message: `${path}: ${wrong}`, path })
    return undefined
  }
}

/** The hashes of a tile, cut to those that were asked for; `undefined`, and a problem, where they are not all there. */
export function hashesIn(
  id: TileId & { readonly level: number },
  found: FoundTile | undefined,
  problems: Problems,
): Uint8Array | undefined {
  if (found === undefined) {
    problems.push({ rule: 'tile', message: `${tilePath(id)} is missing`, path: tilePath(id) })
    return undefined
  }
  const { path, width, bytes } = found
  if (bytes.length !== width * hashBytes) {
    const most = maxTileBytes(id)
    const held = bytes.length > most ? `more than ${most}` : bytes.length
    const message = `${path} holds ${held} bytes, and ${width} hashes are ${width * hashBytes}`
    problems.push({ rule: 'tile', message, path })
    return undefined
  }
  return bytes.subarray(0, id.width * hashBytes)
}

interface Problems {
  push(problem: Problem): unknown
}

// Each entry is put behind the prefix to be hashed. Views of that place are kept, one for each length that occurs: making one for every
// entry would take as long as hashing it.
const leaf = Buffer.alloc(1 + maxEntryBytes, leafPrefix)
const leafViews: Buffer[] = []

/** RFC 6962 leaf hashes of the entries of a bundle, one after another. */
export function hashLeaves({ bytes, spans }: EntryBatch): Uint8Array {
  const hashes = Buffer.alloc((spans.length / 2) * hashBytes)
  for (let i = 0; i < spans.length; i += 2) {
    const length = bytes.copy(leaf, 1, spans[i], spans[i + 1])
    leafViews[length] ??= leaf.subarray(0, 1 + length)
    hashes.write(sha256Text(leafViews[length]), (i / 2) * hashBytes, 'binary')
  }
  return hashes
}
