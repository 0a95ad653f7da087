import { emptyRoot, nodeHash } from '../log/merkle.ts'
import { rootOfHashes } from '../log/subtrees.ts'
import { hashBytes, tileWidth } from '../log/tile.ts'

/**
 * A growing RFC 6962 tree in the geometry of tlog-tiles: on each level it keeps the hashes since the last full tile, at most 255,
 * and of everything before them only what the level above keeps.
 */
export interface TreeLevels {
  /** Entries so far. */
  readonly size: number
  /**
   * Adds the next hash of a level. Returns the hashes of the tile that this completes, whose root the caller then adds to the
   * level above; until then the tree is in between.
   */
  push(level: number, hash: Uint8Array): Uint8Array | undefined
  /** Hashes of a level since its last full tile. */
  partial(level: number): Uint8Array
  /** Puts other hashes in their place, as many. */
  replace(level: number, hashes: Uint8Array): void
  /** The root, with other hashes in place of those of one level if given. */
  root(instead?: { readonly level: number; readonly hashes: Uint8Array }): Uint8Array
  /** What `createTreeLevels` goes on from: the hashes of each level. */
  state(): readonly Buffer[]
}

export function createTreeLevels(from: readonly Buffer[] = []): TreeLevels {
  // All from the start: a full tile goes straight to the level above it, and a level that was left out would be a hole.
  const levels = Array.from({ length: mostLevels }, emptyLevel)
  const at = (level: number) => {
    const known = levels[level] ?? emptyLevel()
    levels[level] = known
    return known
  }
  const partial = (level: number): Buffer => {
    const { bytes, count } = at(level)
    return bytes.subarray(0, count * hashBytes)
  }
  for (const [level, hashes] of from.entries()) {
    at(level).bytes.set(hashes)
    at(level).count = hashes.length / hashBytes
  }

  return {
    get size() {
      return levels.reduce((size, { count }, level) => size + count * tileWidth ** level, 0)
    },
    push(level, hash) {
      const row = at(level)
      row.bytes.set(hash, row.count * hashBytes)
      row.count++
      if (row.count < tileWidth) return undefined
      row.count = 0
      return row.bytes.subarray()
    },
    partial,
    replace: (level, hashes) => at(level).bytes.set(hashes),
    root(instead) {
      const peaks = levels
        .map((_, level) => peaksOf(instead?.level === level ? instead.hashes : partial(level)))
        .reverse()
        .flat()
      return peaks.length === 0 ? emptyRoot : peaks.reduceRight((right, left) => nodeHash(left, right))
    },
    state: () => levels.map((_, level) => partial(level)),
  }
}

/** A tree of 2^53 entries needs seven. */
export const mostLevels = 8

const emptyLevel = () => ({ bytes: Buffer.alloc(tileWidth * hashBytes), count: 0 })

/** Roots of the perfect subtrees over hashes of one level, the largest first. */
function peaksOf(hashes: Uint8Array): readonly Uint8Array[] {
  const count = hashes.length / hashBytes
  const peaks: Uint8Array[] = []
  for (let width = tileWidth / 2, at = 0; width >= 1; width /= 2) {
    if (at + width > count) continue
    peaks.push(rootOfHashes(hashes, at, width))
    at += width
  }
  return peaks
}
