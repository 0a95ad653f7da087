import { createHmac, timingSafeEqual } from 'node:crypto'
import { join } from 'node:path'
import { z } from 'zod'
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Ledger, StoredEntry } from '../ledger.ts'
import { openCheckpoint } from '../log/checkpoint.ts'
import { parseVkey } from '../log/note.ts'
import type { PublishedLog } from '../log/published.ts'
import { createSubtrees } from '../log/subtrees.ts'
import { type Disk, nodeDisk, readSmallFile, replaceFile } from './disk.ts'

/**
 * The file `restart` beside a ledger: which of the entries that a checkpoint covers a restart must read. It only spares reading what
 * no longer matters; whoever removes it makes the next start slower and changes nothing else. Its code (HMAC-SHA256 under
 * the broker's own key) keeps anybody else from hiding an entry, and the checkpoint in it from being taken for another log's.
 */
export interface Restart {
  /** The entries to read at a start, in order: those that mattered at the saved point, and all since. All, without a saved point. */
  entries(): AsyncIterable<StoredEntry>
  /** Saves, now and then while the ledger grows and when `stop` is called, what `list` names. */
  follow(list: () => Float64Array): { stop(): Promise<void> }
}

interface Point {
  readonly size: number
  readonly indexes: readonly number[]
}

const saveEvery = 50_000
const maxFileBytes = 256 * 1024 * 1024

export function createRestart(options: {
  readonly dir: string
  readonly ledger: Ledger & PublishedLog
  readonly key: Uint8Array
  readonly log: Log
  readonly disk?: Disk
}): Restart {
  const { dir, ledger, key, log, disk = nodeDisk } = options
  const path = join(dir, 'restart')

  async function load(): Promise<Point | undefined> {
    try {
      const bytes = await readSmallFile(disk, path, maxFileBytes)
      if (bytes === undefined) return undefined
      const { checkpoint, steps } = contentSchema.parse(JSON.parse(openSealed(bytes, key)))
      const { size, root } = openCheckpoint(checkpoint, parseVkey(ledger.vkey))
      const present = await rootAt(ledger, size)
      if (present === undefined || Buffer.compare(present, root) !== 0) throw new Error('it is of another log')
      return { size, indexes: indexesOf(steps) }
    } catch (error) {
      log.warn({ path, error: messageOf(error) }, 'ledger.restart_point_unusable')
      return undefined
    }
  }

  async function save(list: Float64Array): Promise<void> {
    // What is listed beyond the checkpoint is read anyway; what ended beyond it is read as the end of something unknown.
    const checkpoint = ledger.checkpoint()
    const size = ledger.signedSize()
    const content: z.infer<typeof contentSchema> = { v: 1, checkpoint, steps: stepsOf(list.filter((i) => i < size)) }
    try {
      await replaceFile(disk, path, Buffer.from(seal(JSON.stringify(content), key)), 0o600)
    } catch (error) {
      log.warn({ path, error: messageOf(error) }, 'ledger.restart_point_not_saved')
    }
  }

  return {
    async *entries() {
      const point = await load()
      if (point === undefined) {
        yield* ledger.read(0)
        return
      }
      log.info({ size: point.size, entries: point.indexes.length }, 'ledger.restart_point')
      yield* ledger.pick(point.indexes)
      yield* ledger.read(point.size)
    },
    follow(list) {
      let since = 0
      let saving: Promise<void> | undefined
      const unsubscribe = ledger.subscribe(() => {
        if (++since < saveEvery || saving !== undefined) return
        since = 0
        saving = save(list()).finally(() => {
          saving = undefined
        })
      })
      return {
        async stop() {
          unsubscribe()
          await saving
          await save(list())
        },
      }
    },
  }
}

const contentSchema = z.strictObject({
  v: z.literal(1),
  checkpoint: z.string(),
  /** The first index, and the distance of each further one from the one before it. */
  steps: z.array(z.int().nonnegative()),
})

function stepsOf(ascending: Float64Array): number[] {
  const steps: number[] = []
  let before = 0
  for (const [i, index] of ascending.entries()) {
    if (i > 0 && index === before) continue
    steps.push(index - before)
    before = index
  }
  return steps
}

function indexesOf(steps: readonly number[]): number[] {
  let at = 0
  return steps.map((step) => {
    at += step
    return at
  })
}

const codeOf = (text: string, key: Uint8Array): Buffer =>
  createHmac('sha256', key).update(`writ restart point\n${text}`).digest()

const seal = (text: string, key: Uint8Array): string => `${codeOf(text, key).toString('hex')}\n${text}\n`

function openSealed(bytes: Buffer, key: Uint8Array): string {
  const code = Buffer.from(bytes.toString('latin1', 0, 64), 'hex')
  const text = bytes.toString('utf8', 65, bytes.length - 1)
  if (code.length === 32 && timingSafeEqual(code, codeOf(text, key))) return text
  throw new Error('it was not written by this broker')
}

async function rootAt(log: PublishedLog, size: number): Promise<Uint8Array | undefined> {
  if (size > log.signedSize()) return undefined
  const subtrees = createSubtrees(log.signedSize(), async (id) => {
    const bytes = await log.tile(id)
    if (bytes === undefined) throw new Error('a tile is missing')
    return bytes
  })
  return subtrees.root(0, size)
}
