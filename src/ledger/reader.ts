import { BrokerFault } from '../base/errors.ts'
import { type Disk, type DiskFile, readUpTo } from './disk.ts'
import { entrySchema } from './entry.ts'
import type { StoredEntry } from './ledger.ts'
import { maxRecordBytes, readFrame, recordLeaf, recordText } from './record.ts'
import type { Segment } from './segments.ts'

const chunkBytes = 1 << 20

/** Reads durable entries back from the segments; each is checked and parsed again. */
export interface Reader {
  read(from: number): AsyncIterable<StoredEntry>
  get(index: number): Promise<StoredEntry | undefined>
  close(): Promise<void>
}

/** `segments` may grow while the reader lives; `size` is the number of durable entries. */
export function createReader(disk: Disk, segments: readonly Segment[], size: () => number): Reader {
  const files = new Map<Segment, Promise<DiskFile>>()

  function open(segment: Segment): Promise<DiskFile> {
    const known = files.get(segment)
    if (known !== undefined) return known
    const file = disk.open(segment.path, 'r')
    files.set(segment, file)
    // A failed open is tried again by the next reader.
    file.catch(() => files.delete(segment))
    return file
  }

  async function chunk(index: number, bytes: number): Promise<{ segment: Segment; buffer: Buffer; start: number }> {
    const segment = segments.findLast(({ first }) => first <= index)
    const start = segment?.offsets.at(index - segment.first)
    if (segment === undefined || start === undefined) throw new RangeError(`no entry ${index}`)
    try {
      const file = await open(segment)
      return { segment, start, buffer: await readUpTo(file, Math.min(bytes, segment.end - start), start) }
    } catch (cause) {
      throw unreadable(segment, index, start, cause)
    }
  }

  return {
    async *read(from) {
      for (let index = from; index < size(); ) {
        const { segment, buffer, start } = await chunk(index, chunkBytes)
        for (let at = 0; at < buffer.length; index++) {
          const found = readFrame(buffer, at)
          if (found === undefined && at > 0) break
          if (found === undefined) throw unreadable(segment, index, start)
          yield parse(segment, buffer, at, found.end, index, start + at)
          at = found.end
        }
      }
    },
    async get(index) {
      if (!Number.isSafeInteger(index) || index < 0 || index >= size()) return undefined
      const { segment, buffer, start } = await chunk(index, maxRecordBytes)
      const found = readFrame(buffer, 0)
      if (found === undefined) throw unreadable(segment, index, start)
      return parse(segment, buffer, 0, found.end, index, start)
    },
    async close() {
      for (const file of files.values()) await (await file).close()
      files.clear()
    },
  }
}

function parse(
  segment: Segment,
  buffer: Buffer,
  start: number,
  end: number,
  index: number,
  offset: number,
): StoredEntry {
  try {
    const entry = entrySchema.parse(JSON.parse(recordText(buffer, start, end)))
    return { index, leafHash: recordLeaf(buffer, start, end), entry }
  } catch {
    throw unreadable(segment, index, offset)
  }
}

function unreadable({ path }: Segment, index: number, offset: number, cause?: unknown): BrokerFault {
  return new BrokerFault('ledger_unavailable', `entry ${index} at offset ${offset} of ${path} cannot be read back`, {
    cause,
  })
}
