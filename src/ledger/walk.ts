import { type Disk, readUpTo } from './disk.ts'
import { recordLeaf } from './record.ts'
import {
  describeSegment,
  findLaterBatch,
  listSegments,
  scanRecords,
  segmentHeader,
  segmentHeaderBytes,
} from './segments.ts'

/** A record of the ledger, found without the writer's help. */
export interface WalkedRecord {
  readonly index: number
  /** Name of the segment file. */
  readonly segment: string
  readonly offset: number
  /** Bytes of the canonical JSON; valid until the next step. */
  readonly payload: Buffer
  /** RFC 6962, hexadecimal. */
  readonly leafHash: string
}

/** Where the walk came to its end. */
export type WalkEnd =
  /** After the last whole record; `unfinishedBytes` are a write in progress, or one that a crash cut short. */
  | { readonly state: 'whole'; readonly segment: string; readonly offset: number; readonly unfinishedBytes: number }
  | { readonly state: 'damaged'; readonly segment: string; readonly offset: number; readonly message: string }

/**
 * Reads the segments of a folder from the first record on, without a lock and in constant memory, also while a broker writes them.
 * `each` gets the records of one chunk at a time.
 */
export async function walk(
  disk: Disk,
  dir: string,
  each: (records: readonly WalkedRecord[], bytesRead: number) => void | Promise<void>,
): Promise<WalkEnd> {
  let index = 0
  let bytes = 0
  const firsts = await listSegments(disk, dir)
  for (const [i, first] of firsts.entries()) {
    const { path, name } = describeSegment(dir, first)
    const damaged = (offset: number, message: string): WalkEnd => ({ state: 'damaged', segment: name, offset, message })
    const unfinished = (offset: number, size: number): WalkEnd => {
      return { state: 'whole', segment: name, offset, unfinishedBytes: size - offset }
    }
    if (first !== index) return damaged(0, `it does not follow on: ${index} entries come before it`)
    const isLast = i === firsts.length - 1
    const file = await disk.open(path, 'r')
    try {
      const { size } = await file.stat()
      const header = await readUpTo(file, Math.min(segmentHeaderBytes, size), 0)
      if (Buffer.compare(header, segmentHeader(first)) !== 0) {
        if (isLast && size <= segmentHeaderBytes) return unfinished(0, size)
        return damaged(0, 'its header is not that of a segment')
      }
      let end = segmentHeaderBytes
      for await (const { buffer, base, spans } of scanRecords(file, segmentHeaderBytes, size)) {
        const records = spans.map(([start, stop]) => ({
          index: index++,
          segment: name,
          offset: base + start,
          payload: buffer.subarray(start + 16, stop),
          leafHash: recordLeaf(buffer, start, stop),
        }))
        const last = spans.at(-1)
        if (last !== undefined) end = base + last[1]
        await each(records, bytes + end)
      }
      bytes += end
      if (end === size && !isLast) continue
      const later = isLast ? await findLaterBatch(file, index, end + 1, size) : end
      return later === undefined ? unfinished(end, size) : damaged(end, `entry ${index} is damaged`)
    } finally {
      await file.close()
    }
  }
  return { state: 'whole', segment: '', offset: 0, unfinishedBytes: 0 }
}
