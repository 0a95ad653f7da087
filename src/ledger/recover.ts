import { join } from 'node:path'
import { BrokerFault, messageOf } from '../base/errors.ts'
import { type Checkpoint, openCheckpoint } from './checkpoint.ts'
import { closingAfter, type Disk, type DiskFile, readSmallFile, readUpTo, writeAll } from './disk.ts'
import { entrySchema } from './entry.ts'
import { createTree, type RunningTree } from './merkle.ts'
import type { VerifierKey } from './note.ts'
import { recordLeaf, recordText } from './record.ts'
import {
  createSegment,
  describeSegment,
  findLaterBatch,
  listSegments,
  type Segment,
  scanRecords,
  segmentHeader,
  segmentHeaderBytes,
} from './segments.ts'

/** What a ledger folder holds, after a crash or not. */
export interface Recovered {
  readonly segments: readonly Segment[]
  /** The last segment, open for writing. */
  readonly tail: DiskFile
  readonly tree: RunningTree
  /** Time of the last entry (ms since the epoch); 0 without entries. */
  readonly lastTimeMs: number
  /** Bytes of an unfinished write that were cut off. */
  readonly cutBytes: number
}

/** Name of the signed checkpoint in the folder of the ledger, as in C2SP tlog-tiles. */
export const checkpointPath = (dir: string): string => join(dir, 'checkpoint')
const maxCheckpointBytes = 512 * 1024

const refusal = (message: string, cause?: unknown): BrokerFault =>
  new BrokerFault('ledger_unavailable', message, { cause })

/**
 * The checkpoint last signed in this folder, with the note it came in.
 * @throws BrokerFault `ledger_unavailable` when it is not signed by `key`.
 */
export async function readCheckpoint(
  disk: Disk,
  dir: string,
  key: VerifierKey,
): Promise<{ readonly checkpoint: Checkpoint; readonly note: string } | undefined> {
  const path = checkpointPath(dir)
  const bytes = await readSmallFile(disk, path, maxCheckpointBytes)
  if (bytes === undefined) return undefined
  try {
    return { checkpoint: openCheckpoint(bytes, key), note: bytes.toString('utf8') }
  } catch (cause) {
    throw refusal(`${path} is not a checkpoint signed by ${key.vkey}: ${messageOf(cause)}`, cause)
  }
}

/**
 * Reads every record, cuts off a write that a crash left unfinished, and makes the rest durable again.
 * @throws BrokerFault `ledger_unavailable`, naming file and offset, when acknowledged data is damaged or missing, or when
 * it contradicts the checkpoint.
 */
export async function recover(disk: Disk, dir: string, checkpoint: Checkpoint): Promise<Recovered> {
  const tree = createTree()
  const compareRoot = comparison(checkpoint, tree, dir)
  compareRoot()
  const segments: Segment[] = []
  const firsts = await listSegments(disk, dir)
  for (const first of firsts.slice(0, -1)) {
    const opened = await openSegment(disk, dir, first, tree.size)
    await closingAfter(opened.file, () => scanSegment(opened, false, tree, compareRoot))
    segments.push(opened.segment)
  }
  const last = firsts.at(-1)
  if (last === undefined) return startSegment(disk, dir, { tree, segments, checkpoint, cutBytes: 0 })
  const opened = await openSegment(disk, dir, last, tree.size)
  try {
    const scan = await scanSegment(opened, true, tree, compareRoot)
    if (scan.headerTorn) {
      await opened.file.close()
      return await startSegment(disk, dir, { tree, segments, checkpoint, cutBytes: scan.size })
    }
    refuseLoss(dir, tree, checkpoint)
    const cutBytes = scan.size - opened.segment.end
    await settleTail(opened, scan, cutBytes)
    segments.push(opened.segment)
    return { segments, tail: opened.file, tree, cutBytes, lastTimeMs: await lastTime(disk, segments) }
  } catch (error) {
    await Promise.allSettled([opened.file.close()])
    throw error
  }
}

/** The folder holds whole segments only, or none: the next entry begins a new one. */
async function startSegment(
  disk: Disk,
  dir: string,
  found: {
    readonly tree: RunningTree
    readonly segments: readonly Segment[]
    readonly checkpoint: Checkpoint
    readonly cutBytes: number
  },
): Promise<Recovered> {
  const { tree, segments, checkpoint, cutBytes } = found
  refuseLoss(dir, tree, checkpoint)
  const lastTimeMs = await lastTime(disk, segments)
  const [segment, tail] = await createSegment(disk, dir, tree.size)
  return { segments: [...segments, segment], tail, tree, cutBytes, lastTimeMs }
}

function refuseLoss(dir: string, tree: RunningTree, checkpoint: Checkpoint): void {
  if (tree.size >= checkpoint.size) return
  throw refusal(
    `the checkpoint in ${dir} was signed over ${checkpoint.size} entries and the segments hold only ${tree.size}: ` +
      'entries were lost or the folder was rolled back',
  )
}

interface OpenedSegment {
  readonly segment: Segment
  readonly file: DiskFile
}

async function openSegment(disk: Disk, dir: string, first: number, entriesBefore: number): Promise<OpenedSegment> {
  const segment = describeSegment(dir, first)
  if (first === entriesBefore) return { segment, file: await disk.open(segment.path, 'r+') }
  throw refusal(`${segment.path} does not follow on: the segments before it hold ${entriesBefore} entries`)
}

/** Compares the root with that of the checkpoint when the tree has grown to its size. */
function comparison(checkpoint: Checkpoint, tree: RunningTree, dir: string): () => void {
  return () => {
    if (tree.size !== checkpoint.size || Buffer.compare(tree.root(), checkpoint.root) === 0) return
    throw refusal(`the entries in ${dir} are not those the checkpoint over ${checkpoint.size} entries was signed for`)
  }
}

interface Scan {
  readonly size: number
  /** The file was being made when the process ended: no record can have been acknowledged from it. */
  readonly headerTorn: boolean
  /** Where the last batch begins. */
  readonly lastBatchAt: number
}

/** Reads one segment into the tree, and refuses what a crash does not explain. */
async function scanSegment(
  opened: OpenedSegment,
  isLast: boolean,
  tree: RunningTree,
  onLeaf: () => void,
): Promise<Scan> {
  const { file, segment } = opened
  const { size } = await file.stat()
  const header = await readUpTo(file, segmentHeaderBytes, 0)
  if (Buffer.compare(header, segmentHeader(segment.first)) !== 0) {
    // A torn header holds no record at all, so it can only be that of a file that was being made.
    if (isLast && size <= segmentHeaderBytes) return { size, headerTorn: true, lastBatchAt: 0 }
    throw damage(segment, 0, tree.size)
  }
  const lastBatchAt = await scanIntoTree(opened, size, tree, onLeaf)
  if (size > segment.end) {
    const later = isLast ? await findLaterBatch(file, tree.size, segment.end + 1, size) : size
    if (later !== undefined) throw damage(segment, segment.end, tree.size)
  }
  return { size, headerTorn: false, lastBatchAt }
}

const damage = ({ path }: Segment, offset: number, index: number): BrokerFault =>
  refusal(`${path} is damaged at offset ${offset} (entry ${index}), and what follows shows that it was whole once`)

async function scanIntoTree(
  { file, segment }: OpenedSegment,
  size: number,
  tree: RunningTree,
  onLeaf: () => void,
): Promise<number> {
  let lastBatch = -1
  let lastBatchAt = segmentHeaderBytes
  for await (const { buffer, base, spans } of scanRecords(file, segmentHeaderBytes, size)) {
    for (const [start, end, batch] of spans) {
      if (batch > tree.size || batch < Math.max(lastBatch, segment.first)) {
        throw refusal(`${segment.path} is damaged at offset ${base + start}: entry ${tree.size} is out of place`)
      }
      if (batch !== lastBatch) lastBatchAt = base + start
      lastBatch = batch
      segment.offsets.push(base + start)
      segment.end = base + end
      tree.append(Buffer.from(recordLeaf(buffer, start, end), 'hex'))
      onLeaf()
    }
  }
  return lastBatchAt
}

/**
 * Cuts the unfinished write off and makes the last batch durable by writing it again. Reading it back proves little: after
 * a failed fsync the page cache can show bytes that are not on the disk, and would never write them again by itself.
 */
async function settleTail({ file, segment }: OpenedSegment, scan: Scan, cutBytes: number): Promise<void> {
  if (cutBytes > 0) await file.truncate(segment.end)
  const last = await readUpTo(file, segment.end - scan.lastBatchAt, scan.lastBatchAt)
  await writeAll(file, last, scan.lastBatchAt)
  await file.sync()
}

async function lastTime(disk: Disk, segments: readonly Segment[]): Promise<number> {
  const segment = segments.findLast(({ offsets }) => offsets.count > 0)
  const start = segment?.offsets.at(segment.offsets.count - 1)
  if (segment === undefined || start === undefined) return 0
  const file = await disk.open(segment.path, 'r')
  try {
    const record = await closingAfter(file, () => readUpTo(file, segment.end - start, start))
    return Date.parse(entrySchema.parse(JSON.parse(recordText(record, 0, record.length))).time)
  } catch (cause) {
    throw refusal(
      `${segment.path} is damaged at offset ${start}: the last entry is not one this version can read`,
      cause,
    )
  }
}
