import { messageOf } from '../../base/errors.ts'
import type { Checkpoint } from '../log/checkpoint.ts'
import { leafHash } from '../log/merkle.ts'
import { createSubtrees, rootOfHashes } from '../log/subtrees.ts'
import {
  BundleError,
  hashBytes,
  hashesAtLevel,
  parseBundle,
  type TileId,
  tilePath,
  tileWidth,
  widthAt,
} from '../log/tile.ts'
import type { TileSource } from '../source/tile-source.ts'

/** Bytes of an entry and where it stands. */
export interface LogEntry {
  readonly index: number
  /** RFC 6962 leaf hash, hexadecimal. */
  readonly leafHash: string
  /** Valid until the next entries are asked for. */
  readonly bytes: Buffer
}

/** What was read is not what the head of the log commits to. The message names the file. */
export class UnprovedError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UnprovedError'
  }
}

/** A log of which nothing is given out that does not lead to the root of its head. */
export interface ProvedLog<Head extends Checkpoint> {
  readonly head: Head
  /**
   * The entries from `from` on, a bundle at a time, in constant memory. No bundle before those is read.
   * @throws UnprovedError
   */
  entries(from: number): AsyncGenerator<readonly LogEntry[]>
}

/** Times it is tried: a log that is being written takes partial tiles away, and writes others, while they are read. */
const mostTries = 5

/**
 * Opens a log at the head that `readHead` finds and vouches for.
 * @throws UnprovedError when the tiles do not lead to the root of the head
 */
export async function openProvedLog<Head extends Checkpoint>(
  files: TileSource,
  readHead: () => Promise<Head>,
): Promise<ProvedLog<Head>> {
  for (let tries = 1; ; tries++) {
    const head = await readHead()
    try {
      return await openAt(files, head)
    } catch (error) {
      if (!(error instanceof UnprovedError) || tries === mostTries) throw error
    }
  }
}

async function openAt<Head extends Checkpoint>(files: TileSource, head: Head): Promise<ProvedLog<Head>> {
  const hashes = await openHashes(files, head)
  const bundles = Math.ceil(head.size / tileWidth)
  const idOf = (n: number): TileId => ({ level: 'entries', n, width: widthAt(head.size, 'entries', n) })
  // The one bundle that a growing log takes away is read before anything else, and kept.
  const last = head.size % tileWidth === 0 ? undefined : Buffer.from(await readBundle(files, idOf(bundles - 1)))

  async function proved(n: number, bytes: Buffer): Promise<readonly LogEntry[]> {
    const id = idOf(n)
    const entries = split(bytes, id)
    const leaves = Buffer.concat(entries.map((entry) => leafHash(entry)))
    if (!(await hashes.areLeaves(n, leaves))) {
      throw new UnprovedError(`${tilePath(id)} holds other entries than the root was made over`)
    }
    return entries.map((entry, i) => ({
      index: n * tileWidth + i,
      leafHash: leaves.toString('hex', i * hashBytes, (i + 1) * hashBytes),
      bytes: entry,
    }))
  }

  return {
    head,
    async *entries(from) {
      const under: Promise<Buffer>[] = []
      let asked = Math.floor(from / tileWidth)
      for (let n = asked; n < bundles; n++) {
        for (; asked < Math.min(bundles, n + files.atOnce); asked++) {
          const bytes =
            asked === bundles - 1 && last !== undefined ? Promise.resolve(last) : readBundle(files, idOf(asked))
          // Whoever stops early leaves some of them unheard.
          bytes.catch(() => {})
          under.push(bytes)
        }
        const entries = await proved(n, (await under.shift()) ?? Buffer.alloc(0))
        yield from > n * tileWidth ? entries.slice(from - n * tileWidth) : entries
      }
    },
  }
}

/** The bytes of a bundle in its own width, whatever wider one was found. */
async function readBundle(files: TileSource, id: TileId): Promise<Buffer> {
  const found = await files.tile(id).catch((error: unknown) => {
    if (error instanceof BundleError) throw new UnprovedError(`${tilePath(id)} cannot be cut: ${error.message}`)
    throw error
  })
  if (found === undefined) throw new UnprovedError(`${tilePath(id)} is missing`)
  if (found.width === id.width) return found.bytes
  const kept = split(found.bytes, { ...id, width: found.width }).slice(0, id.width)
  return found.bytes.subarray(
    0,
    kept.reduce((end, entry) => end + 2 + entry.length, 0),
  )
}

function split(bytes: Buffer, id: TileId): readonly Buffer[] {
  try {
    return parseBundle(bytes, id.width)
  } catch (error) {
    throw new UnprovedError(`${tilePath(id)}: ${messageOf(error)}`)
  }
}

/** The hashes of a log, each led to the root before it is believed. */
interface ProvedHashes {
  /** Whether these are the leaf hashes, one after another, of the entries of bundle `n`. */
  areLeaves(n: number, leaves: Uint8Array): Promise<boolean>
}

/**
 * The tiles at the right edge make up the root, so they are proved together and at once. Every other tile is full, and its own
 * root is a hash of the tile above it.
 */
async function openHashes(files: TileSource, { size, root }: Checkpoint): Promise<ProvedHashes> {
  const edges = new Map<number, Uint8Array>()
  const recent = new Map<number, { readonly n: number; readonly bytes: Uint8Array }>()

  async function read(id: TileId): Promise<Uint8Array> {
    const found = await files.tile(id)
    if (found === undefined) throw new UnprovedError(`${tilePath(id)} is missing`)
    if (found.bytes.length === found.width * hashBytes) return found.bytes.subarray(0, id.width * hashBytes)
    throw new UnprovedError(`${tilePath({ ...id, width: found.width })} does not hold ${found.width} hashes`)
  }

  const subtrees = createSubtrees(size, async (id) => {
    const bytes = await read(id)
    edges.set(id.level, bytes)
    return bytes
  })
  if (Buffer.compare(await subtrees.root(0, size), root) !== 0) {
    throw new UnprovedError(`the tiles at the end of the log do not lead to the root over ${size} entries`)
  }

  async function tile(level: number, n: number): Promise<Uint8Array> {
    const edge = edges.get(level)
    if (edge !== undefined && n === Math.floor(hashesAtLevel(size, level) / tileWidth)) return edge
    const known = recent.get(level)
    if (known?.n === n) return known.bytes
    const id = { level, n, width: tileWidth }
    const bytes = await read(id)
    if (Buffer.compare(rootOfHashes(bytes, 0, tileWidth), await hashAt(level + 1, n)) !== 0) {
      throw new UnprovedError(`${tilePath(id)} does not lead to the root over ${size} entries`)
    }
    recent.set(level, { n, bytes })
    return bytes
  }

  async function hashAt(level: number, n: number): Promise<Uint8Array> {
    const at = (n % tileWidth) * hashBytes
    return (await tile(level, Math.floor(n / tileWidth))).subarray(at, at + hashBytes)
  }

  return {
    async areLeaves(n, leaves) {
      return leaves.length === tileWidth * hashBytes
        ? Buffer.compare(rootOfHashes(leaves, 0, tileWidth), await hashAt(1, n)) === 0
        : Buffer.compare(leaves, await tile(0, n)) === 0
    },
  }
}
