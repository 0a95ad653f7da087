import { closingAfter, type Disk, type DiskFile, isCode, readUpTo, reusedMemory } from '../store/disk.ts'
import { frameBytes } from '../store/record.ts'
import {
  describeSegment,
  endOfData,
  findLaterBatch,
  listSegments,
  type Segment,
  scanRecords,
  segmentHeader,
  segmentHeaderBytes,
} from '../store/segments.ts'

/** Records of one segment that follow one another, found without the writer's help. */
export interface WalkedRecords {
  /** Index of the first. */
  readonly first: number
  /** The segment, below the folder of the ledger. */
  readonly path: string
  /** Bytes of the file from `base` on; valid until the next step. */
  readonly bytes: Buffer
  readonly base: number
  /** Where the canonical JSON of each record starts and ends in `bytes`. */
  readonly spans: Uint32Array<ArrayBuffer>
}

/** Bytes read at once: little, because what was read stays in memory until it is collected. */
const chunkBytes = 64 * 1024

/** Where the walk came to its end. */
export type WalkEnd = {
  /** Index after the last record, or that of the first segment when it has none; 0 without segments. */
  readonly index: number
  /** Empty without segments. */
  readonly path: string
  readonly offset: number
} & (
  | /** After the last whole record; `unfinishedBytes` are a write in progress, or one that a crash cut short. */
  { readonly state: 'whole'; readonly unfinishedBytes: number }
  | { readonly state: 'damaged'; readonly message: string }
  /** A segment that was listed is there no longer, as when all its entries stand in full bundles. */
  | { readonly state: 'gone' }
)

/**
 * Reads the segments of a folder from the first one there is, without a lock and in constant memory, also while a broker writes them.
 * `each` gets the records of one chunk at a time.
 */
export async function walk(
  disk: Disk,
  dir: string,
  each: (records: WalkedRecords) => void | Promise<void>,
): Promise<WalkEnd> {
  let end: WalkEnd = { state: 'whole', index: 0, path: '', offset: 0, unfinishedBytes: 0 }
  const firsts = await listSegments(disk, dir)
  for (const [i, first] of firsts.entries()) {
    const segment = describeSegment(dir, first)
    const place = { index: i === 0 ? first : end.index, path: `segments/${segment.name}`, offset: 0 }
    if (first !== place.index) {
      return { ...place, state: 'damaged', message: `it does not follow on: entry ${place.index} should be its first` }
    }
    const file = await openListed(disk, segment.path)
    if (file === undefined) return { ...place, state: 'gone' }
    end = await closingAfter(file, () => walkSegment(file, segment, i === firsts.length - 1, each))
    if (end.state !== 'whole' || end.unfinishedBytes > 0) return end
  }
  return end
}

/** The file of a segment that was listed; `undefined` when it is gone by now. */
export async function openListed(disk: Disk, path: string): Promise<DiskFile | undefined> {
  try {
    return await disk.open(path, 'r')
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}

async function walkSegment(
  file: DiskFile,
  { name, first }: Segment,
  isLast: boolean,
  each: (records: WalkedRecords) => void | Promise<void>,
): Promise<WalkEnd> {
  const path = `segments/${name}`
  const { size } = await file.stat()
  const header = await readUpTo(file, Math.min(segmentHeaderBytes, size), 0)
  if (Buffer.compare(header, segmentHeader(first)) !== 0) {
    const place = { index: first, path, offset: 0 }
    if (isLast && size <= segmentHeaderBytes) return { ...place, state: 'whole', unfinishedBytes: size }
    return { ...place, state: 'damaged', message: 'its header is not that of a segment' }
  }
  let index = first
  let offset = segmentHeaderBytes
  const memory = reusedMemory()
  for (let suspected = -1; ; suspected = offset) {
    for await (const { buffer, base, spans } of scanRecords(file, offset, size, { atOnce: chunkBytes, memory })) {
      const payloads = Uint32Array.from(spans.flatMap(([start, end]) => [start + frameBytes, end]))
      await each({ first: index, path, bytes: buffer, base, spans: payloads })
      index += spans.length
      offset = base + (spans.at(-1)?.[1] ?? 0)
    }
    const place = { index, path, offset }
    const end = isLast ? await endOfData(file, offset, size) : size
    const later = end === offset ? undefined : isLast ? await findLaterBatch(file, index, offset + 1, end) : offset
    if (later === undefined) return { ...place, state: 'whole', unfinishedBytes: end - offset }
    // A broker may have written on, into zeros, since the records were read: then they go on from here.
    if (!isLast || suspected === offset) return { ...place, state: 'damaged', message: `entry ${index} is damaged` }
  }
}
