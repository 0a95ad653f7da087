import { leafHash } from '../log/merkle.ts'
import { parseBundle, tileWidth } from '../log/tile.ts'
import { type Disk, type DiskFile, isCode, nodeDisk } from '../store/disk.ts'
import { recordLeaf, recordText } from '../store/record.ts'
import { describeSegment, listSegments, scanRecords, segmentHeaderBytes } from '../store/segments.ts'
import { createFolderSource } from './tile-folder.ts'

/** An entry as somebody who only reads the folder sees it. */
interface FollowedEntry {
  readonly index: number
  /** RFC 6962 leaf hash, hexadecimal. */
  readonly leafHash: string
  /** JSON of an entry bundle, or of a record whose checksum is right; nothing more was checked. */
  readonly entry: unknown
}

/** Reads a ledger folder from its start on, also while a broker writes it, without a lock and without a key. */
export interface Follower {
  /**
   * The next entries, some at a time; empty when there are none now. An entry may be seen just before it is durable. Those whose
   * bundle was moved to an archive are left out.
   * @throws BundleError when a bundle is damaged; SourceError, system errors
   */
  next(): Promise<readonly FollowedEntry[]>
}

export function createFollower(dir: string, disk: Disk = nodeDisk): Follower {
  const tiles = createFolderSource(dir)
  let first = 0
  let offset = segmentHeaderBytes
  let index = 0

  async function open(path: string): Promise<DiskFile | undefined> {
    try {
      return await disk.open(path, 'r')
    } catch (error) {
      if (isCode(error, 'ENOENT')) return undefined
      throw error
    }
  }

  /** Entries before those that segments still hold; they stand in full bundles. */
  async function readBundles(oldest: number): Promise<readonly FollowedEntry[]> {
    while (index < oldest) {
      const n = Math.floor(index / tileWidth)
      const found = await tiles.tile({ level: 'entries', n, width: tileWidth })
      const from = index
      index = Math.min(oldest, (n + 1) * tileWidth)
      if (found === undefined) continue
      return parseBundle(found.bytes, tileWidth)
        .slice(from % tileWidth, index - n * tileWidth)
        .map((entry, i) => ({
          index: from + i,
          leafHash: Buffer.from(leafHash(entry)).toString('hex'),
          entry: JSON.parse(entry.toString('utf8')),
        }))
    }
    return []
  }

  async function readOn(): Promise<readonly FollowedEntry[]> {
    const file = await open(describeSegment(dir, first).path)
    // It went since it was listed: by the next time its entries are in bundles.
    if (file === undefined) return []
    try {
      const { size } = await file.stat()
      for await (const { buffer, base, spans } of scanRecords(file, offset, size)) {
        offset = base + (spans.at(-1)?.[1] ?? 0)
        return spans.map(([start, end]) => ({
          index: index++,
          leafHash: recordLeaf(buffer, start, end),
          entry: JSON.parse(recordText(buffer, start, end)),
        }))
      }
      return []
    } finally {
      await file.close()
    }
  }

  return {
    async next() {
      const firsts = await listSegments(disk, dir)
      const [oldest] = firsts
      if (oldest !== undefined && index < oldest) {
        const found = await readBundles(oldest)
        if (found.length > 0) return found
      }
      if (firsts.includes(first)) {
        const found = await readOn()
        if (found.length > 0 || index === first) return found
      }
      if (!firsts.includes(index)) return []
      first = index
      offset = segmentHeaderBytes
      return readOn()
    },
  }
}
