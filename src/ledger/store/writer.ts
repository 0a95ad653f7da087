import { BrokerFault } from '../../base/errors.ts'
import type { Entry } from '../entry.ts'
import type { Appended } from '../ledger.ts'
import { closingAfter, type Disk, type DiskFile, writeAll } from './disk.ts'
import { frameBytes, maxRecordBytes, recordLeaf, writeFrame } from './record.ts'
import { createSegment, type Segment } from './segments.ts'
import { createSpare } from './spare.ts'

/** An entry whose caller waits for it to be durable. */
export interface Waiting {
  readonly entry: Entry
  readonly position: Appended
  /** Where its record stands within the bytes of its batch. */
  readonly at: number
  readonly end: number
  readonly resolve: (position: Appended) => void
  readonly reject: (fault: BrokerFault) => void
}

interface Batch {
  readonly first: number
  readonly waiting: Waiting[]
  bytes: Buffer<ArrayBuffer>
  used: number
}

/**
 * Group commit: whatever is enqueued while a batch is being written and synced becomes the next batch, and each batch is one
 * write and one fdatasync. The first error poisons the writer for good: a second fdatasync after a failed one can
 * succeed without the data being on the disk.
 */
export interface Writer {
  /** Puts an entry in line; throws `ledger_unavailable` when poisoned or when too many wait. */
  enqueue(entry: Entry, text: string): Promise<Appended>
  /** Rejects everything that waits, now and later. The first cause stays. */
  poison(cause: unknown): void
  readonly poisoned: BrokerFault | undefined
  /** Resolves once nothing waits any more. */
  drain(): Promise<void>
  close(): Promise<void>
}

export function createWriter(options: {
  readonly disk: Disk
  readonly dir: string
  readonly tail: DiskFile
  /** Grown in place; the last one is being written. */
  readonly segments: Segment[]
  readonly nextIndex: number
  readonly segmentBytes: number
  readonly maxWaiting: number
  /** Called with each durable batch, in order, before its callers are told. The bytes are used again afterwards. */
  readonly onDurable: (batch: readonly Waiting[], bytes: Buffer) => void
  readonly onPoisoned: (fault: BrokerFault) => void
}): Writer {
  const { disk, dir, segments, segmentBytes, maxWaiting, onDurable, onPoisoned } = options
  let tail = options.tail
  /** Bytes of the tail that are written already, if only with zeros. */
  let tailBytes = 0
  const spare = createSpare(disk, dir, segmentBytes)
  let nextIndex = options.nextIndex
  let spareBytes = Buffer.allocUnsafe(initialBatchBytes)
  let batch = newBatch()
  let inFlight = 0
  let running: Promise<void> | undefined
  let poisoned: BrokerFault | undefined

  function newBatch(): Batch {
    const bytes = spareBytes
    spareBytes = Buffer.alloc(0)
    return { first: nextIndex, waiting: [], bytes, used: 0 }
  }

  function enqueue(entry: Entry, text: string): Promise<Appended> {
    if (poisoned !== undefined) return Promise.reject(poisoned)
    if (batch.waiting.length + inFlight >= maxWaiting || batch.used > maxBatchBytes) {
      const message = 'too many entries wait for the disk of the ledger'
      return Promise.reject(new BrokerFault('ledger_unavailable', message, { retryAfterSeconds: 1 }))
    }
    const at = batch.used
    if (batch.bytes.length - at < frameBytes + text.length * 3) batch.bytes = grown(batch.bytes, at)
    const length = batch.bytes.write(text, at + frameBytes)
    const end = at + frameBytes + length
    if (end - at > maxRecordBytes) {
      return Promise.reject(
        new BrokerFault('internal', `an entry of kind ${entry.kind} is larger than the ledger takes`),
      )
    }
    writeFrame(batch.bytes, at, length, batch.first)
    const leafHash = recordLeaf(batch.bytes, at, end)
    const position = { index: nextIndex, leafHash, timeMs: Date.parse(entry.time) }
    batch.used = end
    nextIndex++
    const { waiting } = batch
    return new Promise((resolve, reject) => {
      waiting.push({ entry, position, at, end, resolve, reject })
      running ??= run()
    })
  }

  async function run(): Promise<void> {
    // Callers that were enqueued in the same turn share the first batch.
    await nextTurn()
    while (batch.waiting.length > 0 && poisoned === undefined) {
      const current = batch
      inFlight = current.waiting.length
      batch = newBatch()
      try {
        await commit(current)
        onDurable(current.waiting, current.bytes)
      } catch (cause) {
        // Durable or not: what cannot be counted into the tree cannot be vouched for.
        inFlight = 0
        fail(cause, current.waiting)
        break
      }
      inFlight = 0
      // A burst's buffer is not kept for good.
      if (current.bytes.length <= maxSpareBytes) spareBytes = current.bytes
      for (const { resolve, position } of current.waiting) resolve(position)
      // Lets the callers just told enqueue what they do next, so that it joins the batch about to be cut.
      await nextTurn()
    }
    running = undefined
  }

  async function commit({ bytes, used, waiting, first }: Batch): Promise<void> {
    let segment = segments.at(-1)
    if (segment === undefined || (segment.end >= segmentBytes && segment.offsets.count > 0)) {
      const taken = spare.take(first)
      const [next, file] = await (taken ?? createSegment(disk, dir, first))
      await tail.close()
      tailBytes = taken === undefined ? 0 : segmentBytes
      segment = next
      tail = file
      segments.push(segment)
    }
    const start = segment.end
    await writeAll(tail, bytes.subarray(0, used), start)
    await tail.datasync()
    for (const { at } of waiting) segment.offsets.push(start + at)
    segment.end = start + used
    if (segment.end >= segmentBytes / 2) spare.prepare()
  }

  async function close(): Promise<void> {
    await spare.drop()
    const end = segments.at(-1)?.end ?? tailBytes
    await closingAfter(tail, async () => {
      // Of no importance to who reads it: zeros at the end are no record. A writer that failed leaves everything as it is.
      if (poisoned === undefined && end < tailBytes) await tail.truncate(end)
    })
  }

  function fail(cause: unknown, current: readonly Waiting[]): void {
    if (poisoned === undefined) {
      poisoned = new BrokerFault('ledger_unavailable', 'the ledger stopped after a failed write', { cause })
      onPoisoned(poisoned)
    }
    for (const { reject } of [...current, ...batch.waiting]) reject(poisoned)
    batch = newBatch()
  }

  return {
    enqueue,
    poison: (cause) => fail(cause, []),
    get poisoned() {
      return poisoned
    },
    async drain() {
      while (running !== undefined) await running
    },
    close,
  }
}

const initialBatchBytes = 256 * 1024
/** A batch beyond this takes no more entries. */
const maxBatchBytes = 16 * 1024 * 1024
const maxSpareBytes = 2 * 1024 * 1024

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function grown(bytes: Buffer, used: number): Buffer<ArrayBuffer> {
  const larger = Buffer.allocUnsafe(Math.max(initialBatchBytes, bytes.length * 2, used + 4 * maxRecordBytes))
  bytes.copy(larger, 0, 0, used)
  return larger
}
