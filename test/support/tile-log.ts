import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Checkpoint, signCheckpoint } from '../../src/ledger/log/checkpoint.ts'
import type { SigningKey } from '../../src/ledger/log/note.ts'
import type { PublishedLog } from '../../src/ledger/log/published.ts'
import { createSubtrees, type Subtrees } from '../../src/ledger/log/subtrees.ts'
import { type TileId, tilePath, tileWidth } from '../../src/ledger/log/tile.ts'
import { origin, testKey } from './ledger.ts'
import { naiveLeaf, naiveRootOfHashes } from './naive-tree.ts'

/** A log in memory, computed from all its entries at once and with none of the code that writes one. */
export interface TileLog extends Pick<PublishedLog, 'checkpoint' | 'signedSize' | 'tile'> {
  readonly size: number
  readonly root: Buffer
  readonly leafHashes: readonly Buffer[]
  /** What a client may fetch at this size, by path. */
  readonly files: Map<string, Buffer>
  readonly subtrees: Subtrees
  /** Puts the files into a folder. */
  write(dir: string): Promise<void>
}

export function tileLog(
  entries: readonly (string | Uint8Array)[],
  options: { readonly key?: SigningKey; readonly checkpoint?: Partial<Checkpoint> } = {},
): TileLog {
  const bytes = entries.map((entry) => Buffer.from(entry))
  const leafHashes = bytes.map(naiveLeaf)
  const files = new Map<string, Buffer>()
  for (const [n, bundle] of tilesOf(bytes).entries()) {
    files.set(pathOf('entries', n, bundle.length), Buffer.concat(bundle.flatMap((entry) => [lengthOf(entry), entry])))
  }
  for (let level = 0, hashes = leafHashes; hashes.length > 0; level++) {
    const tiles = tilesOf(hashes)
    for (const [n, tile] of tiles.entries()) files.set(pathOf(level, n, tile.length), Buffer.concat(tile))
    hashes = tiles.filter(({ length }) => length === tileWidth).map(naiveRootOfHashes)
  }
  const size = entries.length
  const root = naiveRootOfHashes(leafHashes)
  const note = signCheckpoint({ origin, size, root, ...options.checkpoint }, options.key ?? testKey)
  files.set('checkpoint', Buffer.from(note))

  return {
    size,
    root,
    leafHashes,
    files,
    checkpoint: () => note,
    signedSize: () => size,
    tile: async (id) => files.get(tilePath(id)),
    subtrees: createSubtrees(size, async (id) => files.get(tilePath(id)) ?? Buffer.alloc(0)),
    async write(dir) {
      for (const [path, content] of files) {
        await mkdir(join(dir, dirname(path)), { recursive: true })
        await writeFile(join(dir, path), content)
      }
    },
  }
}

const decimalLogs = new Map<number, TileLog>()

/** The log of the vectors: entry i is the decimal text of i. Made once and shared: leave its files as they are. */
export function decimalLog(size: number): TileLog {
  const log = decimalLogs.get(size) ?? tileLog(Array.from({ length: size }, (_, i) => String(i)))
  decimalLogs.set(size, log)
  return log
}

function tilesOf<T>(items: readonly T[]): T[][] {
  const tiles: T[][] = []
  for (let at = 0; at < items.length; at += tileWidth) tiles.push(items.slice(at, at + tileWidth))
  return tiles
}

const pathOf = (level: TileId['level'], n: number, width: number): string => tilePath({ level, n, width })

function lengthOf(entry: Buffer): Buffer {
  const prefix = Buffer.alloc(2)
  prefix.writeUInt16BE(entry.length)
  return prefix
}
