import { type BundleId, hashesIn } from './bundle-check.ts'
import type { Checkpoint } from './checkpoint.ts'
import type { Findings, Problem } from './problem.ts'
import { rootOfHashes } from './subtrees.ts'
import { hashBytes, hashesAtLevel, type TileId, tilePath, tileWidth, widthAt } from './tile.ts'
import type { TileSource } from './tile-source.ts'
import { createTreeLevels } from './tree-levels.ts'

type TileAt = TileId & { readonly level: number }

/** Leaf hashes of a bundle, made from its entries and as its tile holds them; absent where they could not be read. */
interface Leaves {
  readonly leaves: Uint8Array | undefined
  readonly tile: Uint8Array | undefined
}

/** Builds the tree from below and compares every tile of hashes on the way; where two disagree, says which one is wrong. */
export interface TreeCheck {
  /** Entries so far. */
  readonly size: number
  /** Adds the next bundle; false when nothing is left to build on. @throws SourceError */
  add(bundle: BundleId, hashes: Leaves): Promise<boolean>
  /** Compares the partial tiles at the end and gives the root over everything. @throws SourceError */
  finish(): Promise<Uint8Array>
  /** What `createTreeCheck` goes on from. Meaningful between full bundles only. */
  state(): readonly Buffer[]
}

/**
 * `head` is what the tree is to lead to. Blame is found by what lies above: of two rows of hashes, the one that leads to the hash
 * in the tile above, or at the right edge to the root of `head`, is right. A wrong row is a problem and is replaced by the
 * right one, so that one fault makes one problem; nothing is believed for that, because any problem fails the whole.
 */
export function createTreeCheck(
  source: TileSource,
  head: Checkpoint,
  findings: Findings,
  from?: readonly Buffer[],
): TreeCheck {
  const levels = createTreeLevels(from)
  const newest = new Map<number, { readonly n: number; readonly hashes: Uint8Array | undefined }>()

  /** The hashes of a tile above the leaves; a problem, once, when it cannot be had. */
  async function tileAt(level: number, n: number): Promise<Uint8Array | undefined> {
    const known = newest.get(level)
    if (known?.n === n) return known.hashes
    const id = { level, n, width: widthAt(head.size, level, n) }
    const hashes = hashesIn(id, await source.tile(id), { push: findings.add })
    newest.set(level, { n, hashes })
    return hashes
  }

  /** What the tile above says of a full tile. */
  async function stated(level: number, n: number): Promise<Uint8Array | undefined> {
    const above = await tileAt(level + 1, Math.floor(n / tileWidth))
    return above && hashAt(above, n % tileWidth)
  }

  /** Of a row that was built from below and the same row as a tile holds it, the one to build on. */
  async function settle(level: number, n: number, built: Uint8Array, tile: Uint8Array | undefined): Promise<Uint8Array> {
    if (tile === undefined || Buffer.compare(built, tile) === 0) return built
    const leads = await leadsUp(level, n, built.length === tileWidth * hashBytes)
    const right = leads(tile) ? 'tile' : leads(built) ? 'built' : 'neither'
    for (let i = 0; i * hashBytes < built.length; i++) {
      if (Buffer.compare(hashAt(built, i), hashAt(tile, i)) === 0) continue
      findings.add(difference({ level, n, width: built.length / hashBytes }, i, right))
    }
    return right === 'tile' ? tile : built
  }

  async function leadsUp(level: number, n: number, full: boolean): Promise<(row: Uint8Array) => boolean> {
    if (!full) return (hashes) => Buffer.compare(levels.root({ level, hashes }), head.root) === 0
    const above = await stated(level, n)
    return (hashes) => above !== undefined && Buffer.compare(rootOfHashes(hashes, 0, tileWidth), above) === 0
  }

  /** Adds a hash to a level, and to those above what this completes. */
  async function raise(level: number, hash: Uint8Array): Promise<void> {
    const full = levels.push(level, hash)
    if (full === undefined) return
    const n = Math.floor(levels.size / tileWidth ** (level + 1))
    const row = await settle(level, n, full, await tileAt(level, n))
    await raise(level + 1, rootOfHashes(row, 0, tileWidth))
  }

  return {
    get size() {
      return levels.size
    },
    async add({ n, width }, { leaves, tile }) {
      const row = leaves === undefined ? tile : await settle(0, n, leaves, tile)
      if (width < tileWidth) {
        for (let i = 0; row !== undefined && i < width; i++) levels.push(0, hashAt(row, i))
        return row !== undefined
      }
      const hash = row === undefined ? await stated(0, n) : rootOfHashes(row, 0, tileWidth)
      if (hash !== undefined) await raise(1, hash)
      return hash !== undefined
    },
    async finish() {
      for (let level = 1; hashesAtLevel(head.size, level) > 0; level++) {
        const built = levels.partial(level)
        const n = Math.floor(hashesAtLevel(head.size, level) / tileWidth)
        if (built.length > 0) levels.replace(level, await settle(level, n, built, await tileAt(level, n)))
      }
      return levels.root()
    },
    state: levels.state,
  }
}

const hashAt = (row: Uint8Array, i: number): Uint8Array => row.subarray(i * hashBytes, (i + 1) * hashBytes)

/** The problem that hash `i` of a tile is not what was built from below, by which of the two is `right`. */
function difference({ level, n, width }: TileAt, i: number, right: 'tile' | 'built' | 'neither'): Problem {
  const path = tilePath({ level, n, width })
  const place = n * tileWidth + i
  if (level === 0) {
    const at = { index: place, path: tilePath({ level: 'entries', n, width }) }
    if (right === 'tile') return { rule: 'entry', message: `entry ${place} is not the one that was signed for`, ...at }
    if (right === 'built') return { rule: 'tile', message: `${path}: hash ${i} is not that of entry ${place}`, path }
    return { rule: 'entry', message: `entry ${place} and hash ${i} of ${path} do not agree`, ...at }
  }
  const below = tilePath({ level: level - 1, n: place, width: tileWidth })
  if (right === 'built') return { rule: 'tile', message: `${path}: hash ${i} is not the root over ${below}`, path }
  const and = right === 'tile' ? ', which was signed for' : ''
  return { rule: 'tile', message: `${below} does not lead to hash ${i} of ${path}${and}`, path: below }
}
