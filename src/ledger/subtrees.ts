import { emptyRoot, nodeHash, nodePrefix, sha256Text } from './merkle.ts'
import { hashBytes, type TileId, tilePath, tileWidth, widthAt } from './tile.ts'

/** Bytes of a tile of hashes, `width * 32` of them. Where they come from, and whether they can be trusted, is the reader's affair. */
export type ReadTile = (id: TileId & { readonly level: number }) => Promise<Uint8Array>

/** Roots over ranges of the entries of a log, computed from its tiles: the way from a position to a proof. */
export interface Subtrees {
  /** Entries in the log. */
  readonly size: number
  /**
   * RFC 6962 hash over entries `from` up to, not including, `to`. The range must be one that occurs in the tree: `from` a
   * multiple of the least power of two that is not smaller than the range.
   */
  root(from: number, to: number): Promise<Uint8Array>
  /** Roots of the perfect subtrees that make up the first `size` entries, largest first. */
  peaks(size: number): Promise<readonly Uint8Array[]>
}

/** A tile that is not as many hashes as its place in the log asks for. */
export class TileError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'TileError'
  }
}

/** Each tile is read at most once. `root` rejects with a `TileError` for one that has a wrong length. */
export function createSubtrees(size: number, readTile: ReadTile): Subtrees {
  const tiles = new Map<string, Promise<Uint8Array>>()

  async function readWhole(id: TileId & { readonly level: number }): Promise<Uint8Array> {
    const bytes = await readTile(id)
    // Attacker-controlled where the log is another's: hashing a short tile would take zeros for its end.
    if (bytes.length === id.width * hashBytes) return bytes
    throw new TileError(`${tilePath(id)} has ${bytes.length} bytes and not ${id.width * hashBytes}`)
  }

  function tile(level: number, n: number): Promise<Uint8Array> {
    const key = `${level}/${n}`
    const known = tiles.get(key)
    if (known !== undefined) return known
    const reading = readWhole({ level, n, width: widthAt(size, level, n) })
    tiles.set(key, reading)
    return reading
  }

  /** Root of the perfect subtree over the 2^height entries from `2^height * place` on. */
  async function perfect(height: number, place: number): Promise<Uint8Array> {
    const level = Math.floor(height / tileBits)
    // A perfect subtree of up to 128 hashes of one level stands within one tile.
    const count = 2 ** (height % tileBits)
    const first = place * count
    const bytes = await tile(level, Math.floor(first / tileWidth))
    return rootOfHashes(bytes, first % tileWidth, count)
  }

  const parts = (from: number, to: number): Promise<Uint8Array[]> =>
    Promise.all(perfectParts(from, to).map(([height, place]) => perfect(height, place)))

  return {
    size,
    async root(from, to) {
      return from === to ? emptyRoot : (await parts(from, to)).reduceRight((right, left) => nodeHash(left, right))
    },
    peaks: (to) => parts(0, to),
  }
}

/** Hashes of one tile span eight levels of the tree. */
const tileBits = 8

/** The perfect subtrees a range is made of, largest first. */
function perfectParts(from: number, to: number): [height: number, place: number][] {
  const parts: [number, number][] = []
  let height = 0
  while (2 ** (height + 1) <= to - from) height++
  for (let at = from; at < to; height--) {
    if (2 ** height > to - at) continue
    parts.push([height, at / 2 ** height])
    at += 2 ** height
  }
  return parts
}

// Rows are reduced in place. Hashes begin at 1, so that before each pair there is a byte for the prefix of its node: the first one, or
// the last of a pair that was used before.
const row = Buffer.alloc(1 + tileWidth * hashBytes)
const pairs = Array.from({ length: tileWidth / 2 }, (_, i) => row.subarray(i * 2 * hashBytes, (i + 1) * 2 * hashBytes + 1))

/** Root over `count` hashes (a power of two) that follow one another in a tile. */
export function rootOfHashes(tile: Uint8Array, first: number, count: number): Uint8Array {
  row.set(tile.subarray(first * hashBytes, (first + count) * hashBytes), 1)
  for (let nodes = count / 2; nodes >= 1; nodes /= 2) {
    for (const [i, pair] of pairs.entries()) {
      if (i === nodes) break
      pair[0] = nodePrefix
      row.write(sha256Text(pair), 1 + i * hashBytes, 'binary')
    }
  }
  return Uint8Array.from(row.subarray(1, 1 + hashBytes))
}
