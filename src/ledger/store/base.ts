import { BrokerFault } from '../../base/errors.ts'
import { createSubtrees, rootOfHashes } from '../log/subtrees.ts'
import { hashBytes, parseBundle, type TileId, tileWidth, widthAt } from '../log/tile.ts'
import type { TileFiles } from './tile-files.ts'
import type { TilesStart } from './tiles.ts'

/** What stands before the first segment: the part of the log that is in tiles alone. */
export interface Base {
  /** The whole tiles of it. */
  readonly start: TilesStart
  /** The entries after those and before the first segment. */
  readonly entries: readonly Buffer[]
}

/**
 * Reads as much of the tiles before entry `first` as is needed to go on from there: a few hundred hashes however long the log is.
 * Whether they are the right ones shows when the root is compared with that of the checkpoint.
 * @throws BrokerFault `ledger_unavailable` when a tile is missing or damaged
 */
export async function readBase(files: TileFiles, first: number): Promise<Base> {
  const whole = first - (first % tileWidth)
  const subtrees = createSubtrees(whole, (id) => readHashes(files, id))
  const levels: Uint8Array[] = []
  for (let level = 0; tileWidth ** level <= whole; level++) {
    const n = Math.floor(whole / tileWidth ** (level + 1))
    const width = widthAt(whole, level, n)
    levels.push(width === 0 ? new Uint8Array() : await readHashes(files, { level, n, width }))
  }
  const start = { size: whole, peaks: await subtrees.peaks(whole), levels, bundle: [] }
  return { start, entries: await readEntries(files, whole, first) }
}

async function readEntries(files: TileFiles, whole: number, first: number): Promise<readonly Buffer[]> {
  if (first === whole) return []
  // A segment goes only when its entries are in full bundles: a partial one is not durable, and will be replaced.
  const id = { level: 'entries' as const, n: whole / tileWidth, width: tileWidth }
  try {
    return parseBundle((await files.read(id)) ?? Buffer.of(), tileWidth).slice(0, first - whole)
  } catch (cause) {
    throw missing(id, cause)
  }
}

/** A tile of hashes, from a file or, above the leaves, from the full tiles below it. */
async function readHashes(files: TileFiles, id: TileId & { readonly level: number }): Promise<Uint8Array> {
  const { level, n, width } = id
  const bytes = await files.readCut(id)
  if (bytes?.length === width * hashBytes) return bytes
  if (level === 0) throw missing(id)
  const hashes: Uint8Array[] = []
  for (let i = 0; i < width; i++) {
    const below = await readHashes(files, { level: level - 1, n: n * tileWidth + i, width: tileWidth })
    hashes.push(rootOfHashes(below, 0, tileWidth))
  }
  return Buffer.concat(hashes)
}

function missing({ level, n }: TileId, cause?: unknown): BrokerFault {
  const message = `tile ${n} of level ${level} is missing or damaged, and the segments no longer hold its entries`
  return new BrokerFault('ledger_unavailable', message, { cause })
}
