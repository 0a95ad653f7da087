import { type Disk, nodeDisk } from '../store/disk.ts'
import { frameBytes, recordLeaf } from '../store/record.ts'
import { describeSegment, listSegments, scanRecords, segmentHeaderBytes } from '../store/segments.ts'
import { type LogEntry, UnprovedError } from './proved-log.ts'

/**
 * The entries from `from` on that stand in the segments of a folder, some at a time: those that no checkpoint covers yet. Their
 * checksums are right and nothing more is proved; the last may be seen just before they are durable.
 * @throws UnprovedError when there is a gap
 */
export async function* unsignedEntries(
  dir: string,
  from: number,
  disk: Disk = nodeDisk,
): AsyncGenerator<readonly LogEntry[]> {
  const firsts = await listSegments(disk, dir)
  const start = Math.max(
    0,
    firsts.findLastIndex((first) => first <= from),
  )
  let next = from
  for (const first of firsts.slice(start)) {
    const { path, name } = describeSegment(dir, first)
    if (first > next) throw new UnprovedError(`entry ${next} is missing before segments/${name}`)
    const file = await disk.open(path, 'r')
    try {
      const { size } = await file.stat()
      let index = first
      for await (const { buffer, spans } of scanRecords(file, segmentHeaderBytes, size)) {
        const entries: LogEntry[] = []
        for (const [at, end] of spans) {
          if (index++ < next) continue
          entries.push({
            index: next++,
            leafHash: recordLeaf(buffer, at, end),
            bytes: buffer.subarray(at + frameBytes, end),
          })
        }
        yield entries
      }
    } finally {
      await file.close()
    }
  }
}
