import { bounded } from '../../base/bounded.ts'
import type { Clock } from '../../base/clock.ts'
import { BrokerFault, messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import { canonicalJson } from '../canonical.ts'
import type { EntryBody } from '../entry.ts'
import type { Appended, Ledger } from '../ledger.ts'
import { parseVkey, type SigningKey } from '../log/note.ts'
import { consistencyProof } from '../log/proof.ts'
import type { PublishedLog } from '../log/published.ts'
import { cutTile, type TileId, widthAt } from '../log/tile.ts'
import { type CosignedHead, type Cosigner, type CosignerOptions, createCosigner } from '../witnesses/cosigned.ts'
import { type Archive, archiveBundles } from './archive.ts'
import { type Disk, makeFolder, nodeDisk, replaceFile } from './disk.ts'
import { createHandover, type Handover } from './handover.ts'
import { createListeners } from './listeners.ts'
import { takeWriterLock } from './lock.ts'
import { createPublisher } from './publisher.ts'
import { createReader } from './reader.ts'
import { frameBytes } from './record.ts'
import { checkpointPath, uncosignedPath } from './recover.ts'
import { createRetirement } from './retire.ts'
import { type Segment, segmentsFolder } from './segments.ts'
import { createStamp, unfit } from './stamp.ts'
import { type Start, startLedger, subtreesOf } from './start.ts'
import { createWriter } from './writer.ts'

/** The ledger in files: one process writes, group commit, signed checkpoints, and the folder is a C2SP tlog-tiles log. */
export interface FileLedger extends Ledger, PublishedLog, Archive {}

export interface FileLedgerOptions {
  readonly dir: string
  /** Identity of the log: first line of its checkpoints and name of its key. */
  readonly origin: string
  readonly key: SigningKey
  /**
   * The key that signed before `key`. It hands the log over in an entry, and signs beside `key` as long as it is given here, so that
   * auditors who hold either can verify.
   */
  readonly previousKey?: SigningKey
  /**
   * A file on other storage than `dir` that receives each checkpoint. At a start the ledger must extend the one it holds: a folder
   * that was put back to an earlier state is refused.
   */
  readonly anchor?: string
  /** Who cosigns checkpoints, and how many must before one is published. */
  readonly witnesses?: Pick<CosignerOptions, 'witnesses' | 'quorum' | 'timeoutMs'>
  /** Folder that entry bundles are moved to by `archive`, and read from afterwards. */
  readonly archive?: string
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
  const { dir, fs: disk = nodeDisk, key, previousKey, origin } = options
  for (const { name } of previousKey === undefined ? [key] : [key, previousKey]) {
    if (name === origin) continue
    throw new BrokerFault('ledger_unavailable', `the ledger is ${origin} and its key is for ${name}`)
  }
  try {
    await makeFolder(disk, segmentsFolder(dir))
  } catch (cause) {
    throw new BrokerFault('ledger_unavailable', `the ledger folder ${dir} cannot be made`, { cause })
  }
  const lock = takeWriterLock(dir)
  try {
    const start = await startLedger(disk, options)
    const rolledBack = Promise.withResolvers<number>()
    const cosigner = cosignerOf(options, rolledBack.resolve)
    await cosigner?.askWitnesses({ ...start.newest, entries: start.tiles.size }).catch(async (error: unknown) => {
      await Promise.allSettled([start.recovered.tail.close(), cosigner.close()])
      throw error
    })
    const handover = createHandover(start.newest.note, key, previousKey)
    const ledger = run(options, disk, start, {
      signers: handover.signers,
      cosigner,
      rolledBack: rolledBack.promise,
      release: () => lock.release(),
    })
    try {
      if (start.recovered.cutBytes > 0) await recordRepair(ledger, start.recovered.cutBytes, options.log)
      await handover.record(ledger)
      return ledger
    } catch (error) {
      await ledger.close()
      throw error
    }
  } catch (cause) {
    lock.release()
    if (cause instanceof BrokerFault) throw cause
    throw new BrokerFault('ledger_unavailable', `the ledger in ${dir} cannot be opened: ${messageOf(cause)}`, { cause })
  }
}

async function recordRepair(ledger: Ledger, bytes: number, log: Log): Promise<void> {
  log.warn({ bytes }, 'ledger.repaired')
  await ledger.append({ kind: 'config.ledger_repaired', actor: { type: 'broker', reason: 'recovery' }, bytes })
}

function cosignerOf(options: FileLedgerOptions, onRolledBack: (size: number) => void): Cosigner | undefined {
  const { witnesses, key, previousKey, origin, clock, log } = options
  if (witnesses === undefined || witnesses.witnesses.length === 0) return undefined
  const keys = [key, ...(previousKey === undefined ? [] : [previousKey])].map(({ vkey }) => parseVkey(vkey))
  return createCosigner({ ...witnesses, origin, keys, clock, log, onRolledBack })
}

function run(
  options: FileLedgerOptions,
  disk: Disk,
  start: Start,
  by: {
    readonly signers: Handover['signers']
    readonly cosigner: Cosigner | undefined
    /** Resolves when a witness proves that there were more entries once. */
    readonly rolledBack: Promise<number>
    readonly release: () => void
  },
): FileLedger {
  const { dir, key, clock, log, anchor } = options
  const { files, tiles } = start
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
    signers: by.signers,
    newest: start.newest,
    partial: start.partial,
    ...(by.cosigner === undefined ? {} : { cosign: cosignWith(by.cosigner) }),
    keep: (note) => replaceFile(disk, uncosignedPath(dir), Buffer.from(note), 0o644),
    async write(note) {
      await replaceFile(disk, checkpointPath(dir), Buffer.from(note), 0o644)
      // After the folder's own: what is elsewhere must never be ahead of what is here.
      if (anchor !== undefined) await replaceFile(disk, anchor, Buffer.from(note), 0o644)
    },
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
  void by.rolledBack.then((size) => {
    writer.poison(new Error(`a witness shows a checkpoint over ${size} entries: the folder was rolled back`))
  })
  let closing: Promise<void> | undefined
  let archiving = false

  async function shut(): Promise<void> {
    await writer.drain()
    await publisher.finish()
    await retirement.settled()
    await Promise.allSettled([writer.close(), reader.close(), by.cosigner?.close()])
    by.release()
  }

  function append(body: EntryBody): Promise<Appended> {
    if (closing !== undefined) return Promise.reject(new BrokerFault('ledger_unavailable', 'the ledger is closed'))
    try {
      const entry = stamp(body)
      return writer.enqueue(entry, canonicalJson(entry))
    } catch (cause) {
      return Promise.reject(unfit(body.kind, cause))
    }
  }

  function cosignWith(cosigner: Cosigner) {
    return (head: { readonly note: string; readonly size: number }): Promise<CosignedHead> => {
      const prove = (from: number) => consistencyProof(subtreesOf(files, tiles), from, head.size)
      return cosigner.cosign({ ...head, entries: tiles.size, prove })
    }
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
    append,
    read: reader.read,
    get: reader.get,
    pick: reader.pick,
    head: () => ({ size: tiles.size, root: Buffer.from(tiles.root()).toString('hex') }),
    subscribe: listeners.add,
    async archive({ before, actor }) {
      const to = options.archive
      if (to === undefined) throw new BrokerFault('state_conflict', 'no folder is named to archive to')
      if (archiving) throw new BrokerFault('state_conflict', 'entries are being archived already')
      archiving = true
      try {
        const most = Math.min(before, publisher.newest().size, segments[0]?.first ?? 0)
        return await archiveBundles({
          disk,
          dir,
          to,
          before: most,
          record: async (moved) => {
            await append({ kind: 'config.archived', actor, ...moved, destination: bounded(to, 200) })
          },
        })
      } finally {
        archiving = false
      }
    },
    close() {
      closing ??= shut()
      return closing
    },
  }
}
