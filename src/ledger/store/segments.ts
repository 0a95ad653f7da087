import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import {
  type Disk,
  type DiskFile,
  isCode,
  type Memory,
  makeFolder,
  readUpTo,
  reusedMemory,
  syncFolder,
  writeAll,
} from './disk.ts'
import { frameBytes, maxRecordBytes, readFrame } from './record.ts'

/**
 * Segments are files `segments/<index of the first entry, 20 digits>.log`: a 20-byte header (`WRITLOG1`, u64 BE first index,
 * u32 BE CRC-32 of those 16 bytes), then records. Only the last one grows; zeros after its records are room for more.
 */
export const segmentHeaderBytes = 20
const magic = Buffer.from('WRITLOG1')
const chunkBytes = 1 << 20

/** Where the records of one segment stand. */
export interface Segment {
  readonly path: string
  readonly name: string
  /** Index of its first entry. */
  readonly first: number
  readonly offsets: Offsets
  /** Where the next record goes. */
  end: number
}

/** Offsets of records within one segment: four bytes each, growing. */
interface Offsets {
  readonly count: number
  push(offset: number): void
  at(i: number): number | undefined
}

function createOffsets(): Offsets {
  let values = new Uint32Array(1024)
  let count = 0
  return {
    get count() {
      return count
    },
    push(offset) {
      if (count === values.length) {
        const grown = new Uint32Array(values.length * 2)
        grown.set(values)
        values = grown
      }
      values[count++] = offset
    },
    at: (i) => (i < count ? values[i] : undefined),
  }
}

/** The folder of the segments below the folder of the ledger. */
export const segmentsFolder = (dir: string): string => join(dir, 'segments')

/** A segment without records. */
export function describeSegment(dir: string, first: number): Segment {
  const name = `${String(first).padStart(20, '0')}.log`
  return { path: join(segmentsFolder(dir), name), name, first, offsets: createOffsets(), end: segmentHeaderBytes }
}

/** First indexes of the segments in a folder, ascending. Files that are not segments are left alone. */
export async function listSegments(disk: Disk, dir: string): Promise<readonly number[]> {
  const names = await disk.readdir(segmentsFolder(dir)).catch((error: unknown) => {
    if (isCode(error, 'ENOENT')) return []
    throw error
  })
  return names
    .filter((name) => /^\d{20}\.log$/.test(name))
    .map((name) => Number(name.slice(0, 20)))
    .sort((a, b) => a - b)
}

/** Creates an empty segment and makes it, and its name, durable. Replaces a half-made one of the same name. */
export async function createSegment(disk: Disk, dir: string, first: number): Promise<[Segment, DiskFile]> {
  await makeFolder(disk, segmentsFolder(dir))
  const segment = describeSegment(dir, first)
  const file = await disk.open(segment.path, 'w+', 0o600)
  try {
    await writeAll(file, segmentHeader(first), 0)
    await file.sync()
    await syncFolder(disk, segmentsFolder(dir))
    return [segment, file]
  } catch (error) {
    await file.close()
    throw error
  }
}

/** The header of the segment whose first entry has that index. */
export function segmentHeader(first: number): Buffer {
  const header = Buffer.alloc(segmentHeaderBytes)
  magic.copy(header)
  header.writeBigUInt64BE(BigInt(first), 8)
  header.writeUInt32BE(crc32(header.subarray(0, 16)), 16)
  return header
}

/** Sound records that follow one another, and where their buffer begins in the file. */
export interface RecordChunk {
  readonly buffer: Buffer
  readonly base: number
  /** Start and end of each record within the buffer. */
  readonly spans: readonly (readonly [start: number, end: number, batch: number])[]
}

/**
 * Reads sound records one after another from `from` up to `to`, in chunks, and stops before the first bytes that are not
 * one. Whoever reads compares where the last record ended with the size of the file. With `memory` that is used again a chunk is
 * valid until the next one.
 */
export async function* scanRecords(
  file: DiskFile,
  from: number,
  to: number,
  { atOnce = chunkBytes, memory }: { readonly atOnce?: number; readonly memory?: Memory } = {},
): AsyncGenerator<RecordChunk> {
  for (let base = from; base < to; ) {
    const buffer = await readUpTo(file, Math.min(Math.max(atOnce, maxRecordBytes), to - base), base, memory)
    const spans: [number, number, number][] = []
    let at = 0
    for (let found = readFrame(buffer, at); found !== undefined; found = readFrame(buffer, at)) {
      spans.push([at, found.end, found.batch])
      at = found.end
    }
    if (spans.length === 0) return
    yield { buffer, base, spans }
    base += at
  }
}

/** Where the last byte between `from` and `to` that is not zero ends; `from` when all are. What follows was never written to. */
export async function endOfData(file: DiskFile, from: number, to: number): Promise<number> {
  const memory = reusedMemory()
  for (let end = to; end > from; ) {
    const base = Math.max(from, end - chunkBytes)
    const buffer = await readUpTo(file, end - base, base, memory)
    if (Buffer.compare(buffer, zeros.subarray(0, buffer.length)) !== 0) {
      let at = buffer.length
      while (buffer[at - 1] === 0) at--
      return base + at
    }
    end = base
  }
  return from
}

const zeros = Buffer.alloc(chunkBytes)

/**
 * Looks for a sound record of a batch later than `index`, at any offset between `from` and `to`. Finding one proves that the
 * bytes before it were durable once.
 */
export async function findLaterBatch(
  file: DiskFile,
  index: number,
  from: number,
  to: number,
): Promise<number | undefined> {
  for (let base = from; base < to; base += chunkBytes) {
    const buffer = await readUpTo(file, Math.min(chunkBytes + maxRecordBytes, to - base), base)
    for (let at = 0; at < Math.min(chunkBytes, buffer.length - frameBytes); at++) {
      // The high half of the length is zero in every record; asking first spares most checksums.
      if (buffer[at + 4] !== 0 || buffer[at + 5] !== 0) continue
      const found = readFrame(buffer, at)
      if (found !== undefined && found.batch > index) return base + at
    }
  }
  return undefined
}
