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
import { createPublisher } from './publisher.ts'
import { createReader } from './reader.ts'
import { checkpointPath, type Recovered, readCheckpoint, recover } from './recover.ts'
import { listSegments, type Segment, segmentsFolder } from './segments.ts'
import { createStamp, unfit } from './stamp.ts'
import { createWriter } from './writer.ts'

/** The ledger in files: one process writes, group commit, signed checkpoints. */
export interface FileLedger extends Ledger {
  /** What an auditor needs to verify the folder. */
  readonly vkey: string
  /** The newest checkpoint that is on disk: a C2SP signed note. */
  checkpoint(): string
}

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
    const recovered = await recover(disk, dir, checkpoint)
    const ledger = run(options, disk, { recovered, note, signedSize: checkpoint.size, release: () => lock.release() })
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
  readonly recovered: Recovered
  /** The checkpoint on disk and the size it is for. */
  readonly note: string
  readonly signedSize: number
  readonly release: () => void
}

function run(options: FileLedgerOptions, disk: Disk, start: Start): FileLedger {
  const { dir, key, clock, log } = options
  const { tree, tail, lastTimeMs } = start.recovered
  const segments: Segment[] = [...start.recovered.segments]
  const aheadMs = lastTimeMs - clock.now()
  if (aheadMs > 1000) log.warn({ ahead_ms: aheadMs }, 'ledger.clock_behind_last_entry')
  const failure = Promise.withResolvers<Error>()
  const listeners = createListeners(log)
  const stamp = createStamp(clock, lastTimeMs)
  const reader = createReader(disk, segments, () => tree.size)
  const publisher = createPublisher({
    clock,
    intervalMs: options.checkpointIntervalMs ?? 100,
    tree,
    key,
    signedSize: start.signedSize,
    note: start.note,
    write: (note) => replaceFile(disk, checkpointPath(dir), Buffer.from(note), 0o644),
    onError: (cause) => writer.poison(cause),
  })
  const writer = createWriter({
    disk,
    dir,
    tail,
    segments,
    nextIndex: tree.size,
    segmentBytes: Math.min(options.segmentBytes ?? 64 * 1024 * 1024, 2 ** 31),
    maxWaiting: options.maxWaiting ?? 8192,
    onDurable(batch) {
      for (const { position } of batch) tree.append(Buffer.from(position.leafHash, 'hex'))
      publisher.schedule()
      listeners.tell(batch)
    },
    onPoisoned(fault) {
      publisher.stop()
      log.error({ cause: messageOf(fault.cause) }, 'ledger.failed')
      failure.resolve(fault)
    },
  })
  let closing: Promise<void> | undefined

  async function shut(): Promise<void> {
    await writer.drain()
    await publisher.finish()
    await Promise.allSettled([writer.close(), reader.close()])
    start.release()
  }

  return {
    vkey: key.vkey,
    failed: failure.promise,
    checkpoint: publisher.note,
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
    head: () => ({ size: tree.size, root: Buffer.from(tree.root()).toString('hex') }),
    subscribe: listeners.add,
    close() {
      closing ??= shut()
      return closing
    },
  }
}
