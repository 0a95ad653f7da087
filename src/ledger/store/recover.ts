import { join } from 'node:path'
import { BrokerFault, messageOf } from '../../base/errors.ts'
import { entrySchema } from '../entry.ts'
import { type Checkpoint, openCheckpoint } from '../log/checkpoint.ts'
import { createTree, leafHash, type RunningTree } from '../log/merkle.ts'
import type { VerifierKey } from '../log/note.ts'
import { parseBundle, tileWidth } from '../log/tile.ts'
import { type Base, readBase } from './base.ts'
import { closingAfter, type Disk, type DiskFile, readSmallFile, readUpTo, writeAll } from './disk.ts'
import { recordLeaf, recordText } from './record.ts'
import {
  createSegment,
  describeSegment,
  endOfData,
  findLaterBatch,
  listSegments,
  type Segment,
  scanRecords,
  segmentHeader,
  segmentHeaderBytes,
} from './segments.ts'
import type { TileFiles } from './tile-files.ts'

/** What a ledger folder holds, after a crash or not. */
export interface Recovered {
  /** The entries before the first segment. */
  readonly base: Base
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
/** The newest checkpoint that witnesses have been asked to cosign; it may be ahead of the published one. */
export const uncosignedPath = (dir: string): string => join(dir, 'checkpoint.uncosigned')
const maxCheckpointBytes = 512 * 1024

const refusal = (message: string, cause?: unknown): BrokerFault =>
  new BrokerFault('ledger_unavailable', message, { cause })

/**
 * The checkpoint last signed in this folder, with the note it came in.
 * @throws BrokerFault `ledger_unavailable` when it is signed by none of the keys.
 */
export async function readCheckpoint(
  disk: Disk,
  path: string,
  keys: readonly VerifierKey[],
): Promise<{ readonly checkpoint: Checkpoint; readonly note: string } | undefined> {
  const bytes = await readSmallFile(disk, path, maxCheckpointBytes)
  if (bytes === undefined) return undefined
  try {
    return { checkpoint: openCheckpoint(bytes, ...keys), note: bytes.toString('utf8') }
  } catch (cause) {
    const wanted = keys.map(({ vkey }) => vkey).join(' or ')
    throw refusal(`${path} is not a checkpoint signed by ${wanted}: ${messageOf(cause)}`, cause)
  }
}

/**
 * Reads every record of the segments, cuts off a write that a crash left unfinished, and makes the rest durable again.
 * Entries before the first segment stand in tiles, of which only what is needed to go on is read.
 * @throws BrokerFault `ledger_unavailable`, naming file and offset, when acknowledged data is damaged or missing, or when
 * it contradicts the checkpoint.
 */
export async function recover(disk: Disk, dir: string, files: TileFiles, checkpoint: Checkpoint): Promise<Recovered> {
  const firsts = await listSegments(disk, dir)
  const base = await readBaseOf(dir, files, firsts[0] ?? 0)
  const tree = createTree(base.start)
  for (const entry of base.entries) tree.append(leafHash(entry))
  // A segment goes only after a checkpoint over all of its entries was signed.
  if (checkpoint.size < tree.size) throw refuseRollback(dir, checkpoint, tree.size)
  const compareRoot = comparison(checkpoint, tree, dir)
  compareRoot()
  const segments: Segment[] = []
  for (const first of firsts.slice(0, -1)) {
    const opened = await openSegment(disk, dir, first, tree.size)
    await closingAfter(opened.file, () => scanSegment(opened, false, tree, compareRoot))
    segments.push(opened.segment)
  }
  const found = { disk, dir, base, tree, segments, checkpoint }
  const last = firsts.at(-1)
  if (last === undefined) return startSegment(found, files, 0)
  const opened = await openSegment(disk, dir, last, tree.size)
  try {
    const scan = await scanSegment(opened, true, tree, compareRoot)
    if (scan.headerTorn) {
      await opened.file.close()
      return await startSegment(found, files, scan.size)
    }
    refuseLoss(dir, tree, checkpoint)
    await settleTail(opened, scan)
    const cutBytes = scan.end - opened.segment.end
    segments.push(opened.segment)
    return { base, segments, tail: opened.file, tree, cutBytes, lastTimeMs: await lastTime(found, files) }
  } catch (error) {
    await Promise.allSettled([opened.file.close()])
    throw error
  }
}

async function readBaseOf(dir: string, files: TileFiles, first: number): Promise<Base> {
  try {
    return await readBase(files, first)
  } catch (cause) {
    const { path } = describeSegment(dir, first)
    throw refusal(`${path} is the first segment, and what comes before it cannot be read: ${messageOf(cause)}`, cause)
  }
}

interface Found {
  readonly disk: Disk
  readonly dir: string
  readonly base: Base
  readonly tree: RunningTree
  readonly segments: Segment[]
  readonly checkpoint: Checkpoint
}

/** The folder holds whole segments only, or none: the next entry begins a new one. */
async function startSegment(found: Found, files: TileFiles, cutBytes: number): Promise<Recovered> {
  const { disk, dir, base, tree, segments, checkpoint } = found
  refuseLoss(dir, tree, checkpoint)
  const lastTimeMs = await lastTime(found, files)
  const [segment, tail] = await createSegment(disk, dir, tree.size)
  return { base, segments: [...segments, segment], tail, tree, cutBytes, lastTimeMs }
}

function refuseLoss(dir: string, tree: RunningTree, checkpoint: Checkpoint): void {
  if (tree.size >= checkpoint.size) return
  throw refusal(
    `the checkpoint in ${dir} was signed over ${checkpoint.size} entries and the segments hold only ${tree.size}: ` +
      'entries were lost or the folder was rolled back',
  )
}

function refuseRollback(dir: string, checkpoint: Checkpoint, size: number): BrokerFault {
  return refusal(
    `the checkpoint in ${dir} was signed over ${checkpoint.size} entries, and the first segment begins only at ` +
      `${size}: the file checkpoint was rolled back`,
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
  /** Where the last byte ends that is not zero: what was written ahead for records to come is not unfinished. */
  readonly end: number
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
    if (isLast && size <= segmentHeaderBytes) return { size, end: size, headerTorn: true, lastBatchAt: 0 }
    throw damage(segment, 0, tree.size)
  }
  const lastBatchAt = await scanIntoTree(opened, size, tree, onLeaf)
  const end = isLast ? await endOfData(file, segment.end, size) : size
  if (end > segment.end) {
    const later = isLast ? await findLaterBatch(file, tree.size, segment.end + 1, end) : end
    if (later !== undefined) throw damage(segment, segment.end, tree.size)
  }
  return { size, end, headerTorn: false, lastBatchAt }
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
 * Cuts the unfinished write off, and zeros written ahead, and makes the last batch durable by writing it again. Reading it back proves little: after
 * a failed fsync the page cache can show bytes that are not on the disk, and would never write them again by itself.
 */
async function settleTail({ file, segment }: OpenedSegment, scan: Scan): Promise<void> {
  if (scan.size > segment.end) await file.truncate(segment.end)
  const last = await readUpTo(file, segment.end - scan.lastBatchAt, scan.lastBatchAt)
  await writeAll(file, last, scan.lastBatchAt)
  await file.sync()
}

async function lastTime({ disk, segments, base, tree }: Found, files: TileFiles): Promise<number> {
  const segment = segments.findLast(({ offsets }) => offsets.count > 0)
  const start = segment?.offsets.at(segment.offsets.count - 1)
  try {
    if (segment === undefined || start === undefined) return timeOf(await lastInTiles(base, tree.size, files))
    const file = await disk.open(segment.path, 'r')
    const record = await closingAfter(file, () => readUpTo(file, segment.end - start, start))
    return timeOf(recordText(record, 0, record.length))
  } catch (cause) {
    const where = segment === undefined ? `entry ${tree.size - 1}` : `${segment.path} is damaged at offset ${start}`
    throw refusal(`${where}: the last entry is not one this version can read`, cause)
  }
}

const timeOf = (text: string | undefined): number =>
  text === undefined ? 0 : Date.parse(entrySchema.parse(JSON.parse(text)).time)

/** The entry before the first segment, where all the segments are empty. */
async function lastInTiles(base: Base, size: number, files: TileFiles): Promise<string | undefined> {
  const last = base.entries.at(-1)
  if (last !== undefined || size === 0) return last?.toString('utf8')
  const id = { level: 'entries' as const, n: size / tileWidth - 1, width: tileWidth }
  return parseBundle((await files.read(id)) ?? Buffer.of(), tileWidth)
    .at(-1)
    ?.toString('utf8')
}
