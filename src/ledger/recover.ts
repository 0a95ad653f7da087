import { join } from 'node:path'
import { BrokerFault, messageOf } from '../base/errors.ts'
import { type Checkpoint, openCheckpoint } from './checkpoint.ts'
import { type Disk, type DiskFile, readSmallFile, readUpTo, writeAll } from './disk.ts'
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
  const rootMatches = checkAgainst(checkpoint, tree, dir)
  rootMatches()
  const segments: Segment[] = []
  let tail: { segment: Segment; file: DiskFile; scan: Scan } | undefined
  let cutBytes = 0
  const firsts = await listSegments(disk, dir)
  for (const [i, first] of firsts.entries()) {
    const isLast = i === firsts.length - 1
    if (first !== tree.size) {
      throw refusal(
        `${describeSegment(dir, first).path} does not follow on: the segments before it hold ${tree.size} entries`,
      )
    }
    const segment = describeSegment(dir, first)
    const file = await disk.open(segment.path, 'r+')
    const scan = await scanSegment(file, segment, tree, rootMatches)
    segments.push(segment)
    if (scan.size > segment.end || scan.headerTorn) {
      await refuseDamage(file, segment, scan, isLast, tree.size)
      cutBytes = scan.size - (scan.headerTorn ? 0 : segment.end)
    }
    if (isLast) tail = { segment, file, scan }
    else await file.close()
  }
  if (tree.size < checkpoint.size) {
    throw refusal(
      `the checkpoint in ${dir} was signed over ${checkpoint.size} entries and the segments hold only ${tree.size}: ` +
        'entries were lost or the folder was rolled back',
    )
  }
  if (tail === undefined || tail.scan.headerTorn) {
    await tail?.file.close()
    const [segment, file] = await createSegment(disk, dir, tree.size)
    const whole = segments.slice(0, -1)
    return { segments: [...whole, segment], tail: file, tree, lastTimeMs: await lastTime(disk, whole), cutBytes }
  }
  await settleTail(tail.file, tail.segment, tail.scan, cutBytes)
  return { segments, tail: tail.file, tree, lastTimeMs: await lastTime(disk, segments), cutBytes }
}

/** Compares the root with that of the checkpoint when the tree has grown to its size. */
function checkAgainst(checkpoint: Checkpoint, tree: RunningTree, dir: string): () => void {
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

async function scanSegment(file: DiskFile, segment: Segment, tree: RunningTree, onLeaf: () => void): Promise<Scan> {
  const { size } = await file.stat()
  const header = await readUpTo(file, segmentHeaderBytes, 0)
  if (Buffer.compare(header, segmentHeader(segment.first)) !== 0) {
    return { size, headerTorn: true, lastBatchAt: 0 }
  }
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
      tree.append(recordLeaf(buffer, start, end))
      onLeaf()
    }
  }
  return { size, headerTorn: false, lastBatchAt }
}

/** Lets pass only what a crash explains; everything else was acknowledged once and is damage. */
async function refuseDamage(
  file: DiskFile,
  segment: Segment,
  scan: Scan,
  isLast: boolean,
  nextIndex: number,
): Promise<void> {
  const from = scan.headerTorn ? 0 : segment.end
  // A torn header holds no record at all; after a whole one, damage is told from a torn write by what follows.
  const torn = scan.headerTorn
    ? scan.size <= segmentHeaderBytes
    : (await findLaterBatch(file, nextIndex, from + 1, scan.size)) === undefined
  if (isLast && torn) return
  throw refusal(
    `${segment.path} is damaged at offset ${from} (entry ${nextIndex}), and what follows shows that it was whole once`,
  )
}

/**
 * Cuts the unfinished write off and makes the last batch durable by writing it again. Reading it back proves little: after
 * a failed fsync the page cache can show bytes that are not on the disk, and would never write them again by itself.
 */
async function settleTail(file: DiskFile, segment: Segment, scan: Scan, cutBytes: number): Promise<void> {
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
    const record = await readUpTo(file, segment.end - start, start)
    return Date.parse(entrySchema.parse(JSON.parse(recordText(record, 0, record.length))).time)
  } catch (cause) {
    throw refusal(
      `${segment.path} is damaged at offset ${start}: the last entry is not one this version can read`,
      cause,
    )
  } finally {
    await file.close()
  }
}
