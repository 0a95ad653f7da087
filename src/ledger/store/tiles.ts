import { createTree, type RunningTree } from '../log/merkle.ts'
import { hashBytes, type TileId, tileWidth } from '../log/tile.ts'

/** A tile and what it holds. */
export interface TileBytes {
  readonly id: TileId
  readonly bytes: Buffer
}

/** Where a log stands: all that is needed to go on from there. */
export interface TilesStart {
  readonly size: number
  /** Roots of the perfect subtrees, largest first. */
  readonly peaks: readonly Uint8Array[]
  /** Hashes of the tile that is not full yet, for each level; levels without one may be absent at the end. */
  readonly levels: readonly Uint8Array[]
  /** Entries of the bundle that is not full yet. */
  readonly bundle: readonly Uint8Array[]
}

/**
 * The tiles of a growing log, as far as they XX
 */
export interface GrowingTiles extends Pick<RunningTree, 'size' | 'root'> {
  /** Adds an entry by its canonical bytes and its RFC 6962 leaf hash. */
  append(entry: Uint8Array, leaf: Uint8Array): void
  /**
   * Full tiles since the last call. They are remembered until `written` says that they can be read elsewhere, and the memory of
   * bundles is used again after that.
   */
  takeFull(): readonly TileBytes[]
  written(tiles: readonly TileBytes[]): void
  /** The tiles that are not full yet, one for each level that has one, and the bundle. */
  partial(): readonly TileBytes[]
  /** The tile of that level and place while it is being filled or not yet `written`; it may be wider than was asked for. */
  find(level: TileId['level'], n: number): TileBytes | undefined
}

const emptyLogs: TilesStart = { size: 0, peaks: [], levels: [], bundle: [] }

export function createGrowingTiles(start: TilesStart = emptyLogs): GrowingTiles {
  const levels: HashTile[] = []
  const untaken: TileBytes[] = []
  const unwritten = new Map<string, TileBytes>()
  // New buffers for 40 MiB of bundles a second would have V8 mark the heap ten times in it, and each append then waits 8 ms.
  const free: Buffer[] = []
  const tree = createTree(start, (height, root) => {
    if (height % tileHeight === 0) addHash(height / tileHeight, root)
  })
  let bundle = newBundle(Math.floor(start.size / tileWidth), Buffer.allocUnsafeSlow(firstBundleBytes))
  start.levels.forEach((hashes, level) => {
    const before = Math.floor(Math.floor(start.size / tileWidth ** level) / tileWidth)
    levels[level] = hashTile(before, hashes)
  })
  for (const entry of start.bundle) addEntry(entry)

  function full(tile: TileBytes): void {
    untaken.push(tile)
    unwritten.set(keyOf(tile.id.level, tile.id.n), tile)
  }

  function addHash(level: number, hash: Uint8Array): void {
    levels[level] ??= hashTile(0)
    const tile = levels[level]
    tile.bytes.set(hash, tile.count * hashBytes)
    tile.count++
    if (tile.count < tileWidth) return
    full({ id: { level, n: tile.n, width: tileWidth }, bytes: tile.bytes })
    levels[level] = hashTile(tile.n + 1)
  }

  function addEntry(entry: Uint8Array): void {
    const end = bundle.used + lengthBytes + entry.length
    if (end > bundle.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(end, bundle.bytes.length * 2))
      bundle.bytes.copy(larger, 0, 0, bundle.used)
      bundle.bytes = larger
    }
    bundle.bytes.writeUInt16BE(entry.length, bundle.used)
    bundle.bytes.set(entry, bundle.used + lengthBytes)
    bundle.used = end
    bundle.count++
  }

  return {
    get size() {
      return tree.size
    },
    root: tree.root,
    append(entry, leaf) {
      addEntry(entry)
      if (bundle.count === tileWidth) {
        full({ id: { level: 'entries', n: bundle.n, width: tileWidth }, bytes: usedOf(bundle) })
        // Entries of one log are much alike, so the next bundle will be about as large as the last.
        bundle = newBundle(bundle.n + 1, free.pop() ?? Buffer.allocUnsafeSlow(Math.ceil(bundle.used * 1.1)))
      }
      addHash(0, leaf)
      tree.append(leaf)
    },
    takeFull: () => untaken.splice(0),
    written(tiles) {
      for (const { id, bytes } of tiles) {
        if (!unwritten.delete(keyOf(id.level, id.n)) || id.level !== 'entries') continue
        if (bytes.buffer.byteLength <= maxFreeBytes && free.length < maxFree) free.push(Buffer.from(bytes.buffer))
      }
    },
    partial() {
      const hashes = levels.flatMap((tile, level) => (tile.count === 0 ? [] : [partialTile(tile, level)]))
      return bundle.count === 0 ? hashes : [partialBundle(bundle), ...hashes]
    },
    find(level, n) {
      const waiting = unwritten.get(keyOf(level, n))
      if (waiting !== undefined) return level === 'entries' ? copyOf(waiting) : waiting
      if (level === 'entries') return bundle.n === n && bundle.count > 0 ? copyOf(partialBundle(bundle)) : undefined
      const tile = levels[level]
      return tile?.n === n && tile.count > 0 ? partialTile(tile, level) : undefined
    },
  }
}

/** Levels of the tree that one tile spans. */
const tileHeight = 8
const lengthBytes = 2
const firstBundleBytes = 64 * 1024
// Each buffer of a bundle is its own memory (allocUnsafeSlow), never part of the pool that Node shares out.
/** Buffers that are kept for the next bundles, and the largest that is. */
const maxFree = 32
const maxFreeBytes = 512 * 1024

const keyOf = (level: TileId['level'], n: number): string => `${level}/${n}`

interface HashTile {
  readonly n: number
  readonly bytes: Buffer
  count: number
}

function hashTile(n: number, hashes: Uint8Array = new Uint8Array()): HashTile {
  const bytes = Buffer.alloc(tileWidth * hashBytes)
  bytes.set(hashes)
  return { n, bytes, count: hashes.length / hashBytes }
}

interface Bundle {
  readonly n: number
  bytes: Buffer
  used: number
  count: number
}

const newBundle = (n: number, bytes: Buffer): Bundle => ({ n, bytes, used: 0, count: 0 })

const copyOf = ({ id, bytes }: TileBytes): TileBytes => ({ id, bytes: Buffer.from(bytes) })

const usedOf = ({ bytes, used }: Bundle): Buffer => bytes.subarray(0, used)

function partialBundle(bundle: Bundle): TileBytes {
  return { id: { level: 'entries', n: bundle.n, width: bundle.count }, bytes: usedOf(bundle) }
}

function partialTile({ n, bytes, count }: HashTile, level: number): TileBytes {
  return { id: { level, n, width: count }, bytes: bytes.subarray(0, count * hashBytes) }
}
