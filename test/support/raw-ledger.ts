import { mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Checkpoint } from '../../src/ledger/log/checkpoint.ts'
import type { SigningKey } from '../../src/ledger/log/note.ts'
import { frameBytes, writeFrame } from '../../src/ledger/store/record.ts'
import { segmentHeader } from '../../src/ledger/store/segments.ts'
import { segmentFile } from './ledger.ts'
import { tileLog } from './tile-log.ts'

/** One record around any bytes, with a right checksum. */
export function rawRecord(payload: string | Uint8Array, batch: number): Buffer {
  const bytes = Buffer.from(payload)
  const record = Buffer.concat([Buffer.alloc(frameBytes), bytes])
  writeFrame(record, 0, bytes.length, batch)
  return record
}

export interface RawOptions {
  readonly key?: SigningKey
  /** What the checkpoint says, where that is not the truth. */
  readonly checkpoint?: Partial<Checkpoint>
  /** Entries after those that tiles and checkpoint cover. */
  readonly unsigned?: readonly (string | Uint8Array)[]
  /** First entries of the segments, ascending; none for a published copy. One that begins with entry 0 unless given. */
  readonly segments?: readonly number[]
}

/**
 * A ledger folder whose parts agree with one another and whose checkpoint is signed, whatever the payloads say: what someone with the
 * key and bad intent, or an older version, could have written. Not made by the code that writes ledgers.
 */
export async function writeRawLedger(
  dir: string,
  payloads: readonly (string | Uint8Array)[],
  { unsigned = [], segments = [0], ...options }: RawOptions = {},
): Promise<void> {
  await tileLog(payloads, options).write(dir)
  const all = [...payloads, ...unsigned]
  for (const [i, first] of segments.entries()) {
    await mkdir(dirname(segmentFile(dir, first)), { recursive: true })
    const records = all.slice(first, segments[i + 1]).map((payload, at) => rawRecord(payload, first + at))
    await writeFile(segmentFile(dir, first), Buffer.concat([segmentHeader(first), ...records]))
  }
}
