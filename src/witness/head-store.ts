import { dirname, join } from 'node:path'
import { BrokerFault, messageOf } from '../base/errors.ts'
import { type Checkpoint, parseCheckpoint } from '../ledger/log/checkpoint.ts'
import type { WitnessKey } from '../ledger/log/cosignature.ts'
import { openNote } from '../ledger/log/note.ts'
import { maxRequestBytes, monitorPath } from '../ledger/log/witness-protocol.ts'
import { type Disk, makeFolder, nodeDisk, readSmallFile, replaceFile } from '../ledger/store/disk.ts'
import { takeWriterLock } from '../ledger/store/lock.ts'

/** The newest head of a log that the witness has cosigned. */
export interface Head extends Omit<Checkpoint, 'origin'> {
  /** The checkpoint with the log's signatures that verified and the cosignature. */
  readonly note: string
}

/** What a witness must never forget. */
export interface HeadStore {
  /** `undefined` before the first of that log. */
  latest(origin: string): Head | undefined
  /**
   * Puts `next` in the place of the newest head when that is over `from` entries (0 when there is none), and else does nothing and
   * gives false. The two are one step, whatever else is under way, and `next` is durable before this resolves.
   * @throws BrokerFault `ledger_unavailable` when it could not be written; from then on the store takes nothing
   */
  advance(origin: string, from: number, next: Head): Promise<boolean>
  /** Resolves with the cause when nothing can be written any more. */
  readonly failed: Promise<Error>
  close(): Promise<void>
}

/**
 * Opens, or makes, the folder of a witness: for each log one file `<SHA-256 of the origin>/checkpoint`, which is what monitors are
 * shown. One process at a time.
 * @throws BrokerFault `ledger_unavailable` when another process has the folder, or a file is not a checkpoint of its log that
 * this witness has cosigned
 */
export async function openHeadStore(options: {
  readonly dir: string
  readonly origins: readonly string[]
  /** The key that must have cosigned what is in the folder. */
  readonly key: WitnessKey
  readonly fs?: Disk
}): Promise<HeadStore> {
  const { dir, origins, key, fs: disk = nodeDisk } = options
  const fileOf = (origin: string): string => join(dir, monitorPath(origin))
  const folders = [dir, ...origins.map((origin) => dirname(fileOf(origin)))]
  try {
    for (const folder of folders) await makeFolder(disk, folder)
  } catch (cause) {
    throw new BrokerFault('ledger_unavailable', `the folder ${dir} of the witness cannot be made`, { cause })
  }
  const lock = takeWriterLock(dir, 'the checkpoints of the witness')
  const heads = new Map<string, Head>()
  try {
    for (const origin of origins) {
      const head = await readHead(disk, fileOf(origin), origin, key)
      if (head !== undefined) heads.set(origin, head)
    }
  } catch (error) {
    lock.release()
    throw error
  }
  const failure = Promise.withResolvers<Error>()
  let fault: BrokerFault | undefined
  let turn: Promise<unknown> = Promise.resolve()

  async function advance(origin: string, from: number, next: Head): Promise<boolean> {
    if (fault !== undefined) throw fault
    if ((heads.get(origin)?.size ?? 0) !== from) return false
    try {
      await replaceFile(disk, fileOf(origin), Buffer.from(next.note), 0o644)
    } catch (cause) {
      // What the disk holds now is not known, and a second sync that succeeds would not say.
      fault = new BrokerFault('ledger_unavailable', `${fileOf(origin)} cannot be written`, { cause })
      failure.resolve(fault)
      throw fault
    }
    heads.set(origin, next)
    return true
  }

  return {
    latest: (origin) => heads.get(origin),
    advance(origin, from, next) {
      // One after another: the size is compared with what the one before has left.
      const result = turn.then(() => advance(origin, from, next))
      turn = result.catch(() => {})
      return result
    },
    failed: failure.promise,
    async close() {
      await turn
      lock.release()
    },
  }
}

async function readHead(disk: Disk, file: string, origin: string, key: WitnessKey): Promise<Head | undefined> {
  try {
    const bytes = await readSmallFile(disk, file, maxRequestBytes)
    if (bytes === undefined) return undefined
    const checkpoint = parseCheckpoint(openNote(bytes, [key]).text)
    if (checkpoint.origin !== origin) throw new Error(`it is of ${checkpoint.origin}`)
    return { size: checkpoint.size, root: checkpoint.root, note: bytes.toString() }
  } catch (cause) {
    throw new BrokerFault(
      'ledger_unavailable',
      `${file} is not a checkpoint of ${origin} cosigned by ${key.vkey}: ${messageOf(cause)}`,
      { cause },
    )
  }
}
