import { type Disk, nodeDisk } from '../store/disk.ts'
import { recordLeaf, recordText } from '../store/record.ts'
import { describeSegment, listSegments, scanRecords, segmentHeaderBytes } from '../store/segments.ts'

/** An entry as somebody who only reads the folder sees it. */
interface FollowedEntry {
  readonly index: number
  /** RFC 6962 leaf hash, hexadecimal. */
  readonly leafHash: string
  /** JSON of a record whose checksum is right; nothing more was checked. */
  readonly entry: unknown
}

/** Reads a ledger folder from its start on, also while a broker writes it, without a lock and without a key. */
export interface Follower {
  /** The next entries, some at a time; empty when there are none now. An entry may be seen just before it is durable. */
  next(): Promise<readonly FollowedEntry[]>
}

export function createFollower(dir: string, disk: Disk = nodeDisk): Follower {
  let first = 0
  let offset = segmentHeaderBytes
  let index = 0

  async function readOn(): Promise<readonly FollowedEntry[]> {
    const file = await disk.open(describeSegment(dir, first).path, 'r')
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
      if (!firsts.includes(first)) return []
      const found = await readOn()
      if (found.length > 0 || index === first || !firsts.includes(index)) return found
      first = index
      offset = segmentHeaderBytes
      return readOn()
    },
  }
}
