import type { Clock } from '../base/clock.ts'
import { BrokerFault, messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { canonicalJson } from './canonical.ts'
import { type Checkpoint, signCheckpoint } from './checkpoint.ts'
import { type Disk, makeFolder, nodeDisk, replaceFile } from './disk.ts'
import type { Ledger } from './ledger.ts'
import { createListeners } from './listeners.ts'
import { takeWriterLock } from './lock.ts'
import { emptyRoot } from './merkle.ts'
import { parseVkey, type SigningKey } from './note.ts'
import type { PublishedLog } from './published.ts'
import { createPublisher } from './publisher.ts'
import { createReader } from './reader.ts'
import { frameBytes } from './record.ts'
import { checkpointPath, type Recovered, readCheckpoint, recover } from './recover.ts'
import { restoreTiles } from './restore-tiles.ts'
import { createRetirement } from './retire.ts'
import { listSegments, type Segment, segmentsFolder } from './segments.ts'
import { createStamp, unfit } from './stamp.ts'
import { cutTile, type TileId, widthAt } from './tile.ts'
import { createTileFiles, type TileFiles } from './tile-files.ts'
import type { GrowingTiles } from './tiles.ts'
import { createWriter } from './writer.ts'

/** The ledger in files: one process writes, group commit, signed checkpoints, and the folder is a C2SP tlog-tiles log. */
export interface FileLedger extends Ledger, PublishedLog {}

export interface FileLedgerOptions {
  readonly dir: string
  /** Identity of the log: first line of its checkpoints and name of its key. */
  readonly origin: string
  readonly key: SigningKey
  readonly clock: Clock
  readonly log: Log
  readonly fs?: Disk
  /** A segment that has grown to this many bytes is followed by a new one; at most 2 GiB. */
  readonly segmentBytes?: number
  /** At most one checkpoint is signed in this time. */
  readonly checkpointIntervalMs?: number
  /** Entries that may wait for the disk before `append` refuses. */
  readonly maxWaiting?: number
}

/**
 * Opens, or makes, the ledger in a folder. What a crash left unfinished is cut off and that is recorded; anything else that
 * is not as it was acknowledged is a refusal.
 * @throws BrokerFault `ledger_unavailable`: another process writes it, data is damaged or missing, the checkpoint is
 * contradicted or signed by another key, or the disk refuses.
 */
export async function openFileLedger(options: FileLedgerOptions): Promise<FileLedger> {
  const { dir, fs: disk = nodeDisk, key, origin } = options
  if (key.name !== origin) {
    throw new BrokerFault('ledger_unavailable', `the ledger is ${origin} and its key is for ${key.name}`)
  }
  try {
    await makeFolder(disk, segmentsFolder(dir))
  } catch (cause) {
    throw new BrokerFault('ledger_unavailable', `the ledger folder ${dir} cannot be made`, { cause })
  }
  const lock = takeWriterLock(dir)
  try {
    const [checkpoint, note] = await readOrSignFirst(disk, dir, key)
    const files = createTileFiles(disk, dir)
    const recovered = await recover(disk, dir, files, checkpoint)
    const restored = await restoreTiles(disk, files, recovered).catch(async (cause: unknown) => {
      await recovered.tail.close()
      throw cause
    })
    if (restored.rewritten > 0) options.log.warn({ tiles: restored.rewritten }, 'ledger.tiles_rewritten')
    const newest = { note, size: checkpoint.size }
    const ledger = run(options, { disk, files, recovered, newest, ...restored, release: () => lock.release() })
    if (recovered.cutBytes > 0) await recordRepair(ledger, recovered.cutBytes, options.log)
    return ledger
  } catch (cause) {
    lock.release()
    if (cause instanceof BrokerFault) throw cause
    throw new BrokerFault('ledger_unavailable', `the ledger in ${dir} cannot be opened: ${messageOf(cause)}`, { cause })
  }
}

/** A folder gets its first checkpoint, over nothing, before its first entry: from then on a missing one is a finding. */
async function readOrSignFirst(disk: Disk, dir: string, key: SigningKey): Promise<[Checkpoint, string]> {
  const found = await readCheckpoint(disk, dir, parseVkey(key.vkey))
  if (found !== undefined) return [found.checkpoint, found.note]
  if ((await listSegments(disk, dir)).length > 0) {
    throw new BrokerFault('ledger_unavailable', `${dir} holds entries and no checkpoint: restore the file checkpoint`)
  }
  const checkpoint = { origin: key.name, size: 0, root: emptyRoot }
  const note = signCheckpoint(checkpoint, key)
  await replaceFile(disk, checkpointPath(dir), Buffer.from(note), 0o644)
  return [checkpoint, note]
}

async function recordRepair(ledger: Ledger, bytes: number, log: Log): Promise<void> {
  log.warn({ bytes }, 'ledger.repaired')
  try {
    await ledger.append({ kind: 'config.ledger_repaired', actor: { type: 'broker', reason: 'recovery' }, bytes })
  } catch (error) {
    await ledger.close()
    throw error
  }
}

interface Start {
  readonly disk: Disk
  readonly files: TileFiles
  readonly recovered: Recovered
  readonly tiles: GrowingTiles
  readonly partial: readonly TileId[]
  /** The checkpoint on disk and the size it is for. */
  readonly newest: { readonly note: string; readonly size: number }
  readonly release: () => void
}

function run(options: FileLedgerOptions, start: Start): FileLedger {
  const { dir, key, clock, log } = options
  const { disk, files, tiles } = start
  const { tail, lastTimeMs } = start.recovered
  const segments: Segment[] = [...start.recovered.segments]
  const aheadMs = lastTimeMs - clock.now()
  if (aheadMs > 1000) log.warn({ ahead_ms: aheadMs }, 'ledger.clock_behind_last_entry')
  const failure = Promise.withResolvers<Error>()
  const listeners = createListeners(log)
  const stamp = createStamp(clock, lastTimeMs)
  const reader = createReader(disk, files, segments, () => tiles.size)
  const retirement = createRetirement({
    disk,
    dir,
    files,
    segments,
    onRetired: reader.forget,
    onError: (cause) => writer.poison(cause),
  })
  const publisher = createPublisher({
    clock,
    intervalMs: options.checkpointIntervalMs ?? 100,
    tiles,
    files,
    key,
    newest: start.newest,
    partial: start.partial,
    write: (note) => replaceFile(disk, checkpointPath(dir), Buffer.from(note), 0o644),
    onPublished: retirement.start,
    onError: (cause) => writer.poison(cause),
  })
  const writer = createWriter({
    disk,
    dir,
    tail,
    segments,
    nextIndex: tiles.size,
    segmentBytes: Math.min(options.segmentBytes ?? 16 * 1024 * 1024, 2 ** 31),
    maxWaiting: options.maxWaiting ?? 8192,
    onDurable(batch, bytes) {
      for (const { position, at, end } of batch) {
        tiles.append(bytes.subarray(at + frameBytes, end), Buffer.from(position.leafHash, 'hex'))
      }
      publisher.schedule()
      listeners.tell(batch)
    },
    onPoisoned(fault) {
      publisher.stop()
      log.error({ cause: messageOf(fault.cause) }, 'ledger.failed')
      failure.resolve(fault)
    },
  })
  publisher.schedule()
  let closing: Promise<void> | undefined

  async function shut(): Promise<void> {
    await writer.drain()
    await publisher.finish()
    await retirement.settled()
    await Promise.allSettled([writer.close(), reader.close()])
    start.release()
  }

  /** What waits in memory first: it is on disk only once a checkpoint needs it. */
  async function tile(id: TileId): Promise<Buffer | undefined> {
    if (widthAt(publisher.newest().size, id.level, id.n) < id.width) return undefined
    const growing = tiles.find(id.level, id.n)
    return growing === undefined ? files.readCut(id) : cutTile(growing.bytes, growing.id, id.width)
  }

  return {
    origin: key.name,
    vkey: key.vkey,
    failed: failure.promise,
    checkpoint: () => publisher.newest().note,
    signedSize: () => publisher.newest().size,
    tile,
    covered: publisher.covered,
    append(body) {
      if (closing !== undefined) return Promise.reject(new BrokerFault('ledger_unavailable', 'the ledger is closed'))
      try {
        const entry = stamp(body)
        return writer.enqueue(entry, canonicalJson(entry))
      } catch (cause) {
        return Promise.reject(unfit(body.kind, cause))
      }
    },
    read: reader.read,
    get: reader.get,
    pick: reader.pick,
    head: () => ({ size: tiles.size, root: Buffer.from(tiles.root()).toString('hex') }),
    subscribe: listeners.add,
    close() {
      closing ??= shut()
      return closing
    },
  }
}
