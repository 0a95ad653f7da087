import { leafHash } from '../log/merkle.ts'
import { tileWidth } from '../log/tile.ts'
import { createFolderSource } from '../source/tile-folder.ts'
import { claimedSize, wholeEntries } from '../source/tile-source.ts'
import { type Disk, nodeDisk } from '../store/disk.ts'
import { frameBytes } from '../store/record.ts'
import { describeSegment, listSegments, scanRecords, segmentHeaderBytes } from '../store/segments.ts'
import { openListed } from './walk.ts'

/** An entry as somebody who only reads the folder sees it. */
interface FollowedEntry {
  readonly index: number
  /** RFC 6962 leaf hash, hexadecimal. */
  readonly leafHash: string
  /** The JSON as it stands there; `undefined` when it is none. Nothing was checked. */
  readonly entry: unknown
}

/** Reads a ledger folder from its start on, also while a broker writes it, without a lock and without a key. */
export interface Follower {
  /**
   * The next entries, some at a time; empty when there are none now. Those that were moved to an archive are left out. An entry may
   * be seen just before it is durable.
   */
  next(): Promise<readonly FollowedEntry[]>
}

export function createFollower(dir: string, disk: Disk = nodeDisk): Follower {
  const tiles = createFolderSource(dir)
  let index = 0
  // Where the next record is, in the segment that was read last.
  let segment = { first: -1, offset: segmentHeaderBytes }

  /** Entries that are in bundles alone: all before the first segment, or, where there are no segments, all that are signed for. */
  async function fromBundles(end: number): Promise<readonly FollowedEntry[]> {
    for (let n = Math.floor(index / tileWidth); n * tileWidth < end; n++) {
      const from = Math.max(index, n * tileWidth)
      const found = await tiles.tile({ level: 'entries', n, width: (from % tileWidth) + 1 })
      if (found === undefined) continue
      const entries = wholeEntries(found).slice(from % tileWidth, end - n * tileWidth)
      index = from + entries.length
      return entries.map((entry, i) => followed(from + i, entry))
    }
    return []
  }

  async function fromSegment(first: number): Promise<readonly FollowedEntry[]> {
    if (first !== segment.first) segment = { first, offset: segmentHeaderBytes }
    const file = await openListed(disk, describeSegment(dir, first).path)
    if (file === undefined) return []
    try {
      const { size } = await file.stat()
      for await (const { buffer, base, spans } of scanRecords(file, segment.offset, size)) {
        segment.offset = base + (spans.at(-1)?.[1] ?? 0)
        return spans.map(([start, end]) => followed(index++, buffer.subarray(start + frameBytes, end)))
      }
      return []
    } finally {
      await file.close()
    }
  }

  return {
    async next() {
      const firsts = await listSegments(disk, dir)
      const [oldest = await claimedSize(await tiles.checkpoint())] = firsts
      const before = index < oldest ? await fromBundles(oldest) : []
      if (before.length > 0) return before
      // What is not in bundles before the first segment was archived.
      if (firsts.length > 0) index = Math.max(index, oldest)
      // The segment that is being read, or the one that begins where it ended.
      for (const first of new Set([segment.first, index])) {
        const found = firsts.includes(first) ? await fromSegment(first) : []
        if (found.length > 0) return found
      }
      return []
    },
  }
}

function followed(index: number, bytes: Buffer): FollowedEntry {
  return { index, leafHash: Buffer.from(leafHash(bytes)).toString('hex'), entry: jsonOf(bytes) }
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}
