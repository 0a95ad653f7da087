import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Checkpoint, signCheckpoint } from '../../src/ledger/checkpoint.ts'
import { createTree } from '../../src/ledger/merkle.ts'
import type { SigningKey } from '../../src/ledger/note.ts'
import { frameBytes, recordLeaf, writeFrame } from '../../src/ledger/record.ts'
import { segmentHeader } from '../../src/ledger/segments.ts'
import { origin, testKey } from './ledger.ts'

/** One record around any bytes, with a right checksum. */
export function rawRecord(payload: string | Uint8Array, batch: number): Buffer {
  const bytes = Buffer.from(payload)
  const record = Buffer.concat([Buffer.alloc(frameBytes), bytes])
  writeFrame(record, 0, bytes.length, batch)
  return record
}

/**
 * A ledger folder whose records are whole and whose checkpoint is signed, whatever the payloads say: what someone with the
 * key and bad intent, or an older version, could have written.
 */
export async function writeRawLedger(
  dir: string,
  payloads: readonly (string | Uint8Array)[],
  options: { readonly key?: SigningKey; readonly checkpoint?: Partial<Checkpoint> } = {},
): Promise<void> {
  const records = payloads.map((payload, index) => rawRecord(payload, index))
  const tree = createTree()
  for (const record of records) tree.append(Buffer.from(recordLeaf(record, 0, record.length), 'hex'))
  await mkdir(join(dir, 'segments'), { recursive: true })
  await writeFile(join(dir, 'segments', `${'0'.repeat(20)}.log`), Buffer.concat([segmentHeader(0), ...records]))
  const checkpoint = { origin, size: tree.size, root: tree.root(), ...options.checkpoint }
  await writeFile(join(dir, 'checkpoint'), signCheckpoint(checkpoint, options.key ?? testKey))
}
