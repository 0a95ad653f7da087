import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { provingFrom } from '../../src/cli/provable.ts'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import { parseVkey } from '../../src/ledger/log/note.ts'
import { createReceipt, proveEntry, verifyReceipt } from '../../src/ledger/log/receipt.ts'
import { entryAt, findEntries } from '../../src/ledger/search/find-entries.ts'
import { createFolderSource } from '../../src/ledger/source/tile-folder.ts'
import { openFileLedger } from '../../src/ledger/store/file.ts'
import { writeHistory } from './history.ts'
import { quantile } from './load.ts'
import { ledgerIn, ledgerKeyIn, newFolder, origin, removeFolder } from './serve.ts'

/** What a proof costs over a long record. */
export interface ProveFigures {
  readonly entries: number
  /** Of an entry by its index, from the files of a folder: found, proved and verified. */
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of the receipt alone, from the ledger that writes the folder. */
  readonly receiptP50Ms: number
  /** To find the oldest grant, which is behind all other entries. */
  readonly oldestGrantSeconds: number
}

/** Proves entries all over a ledger of that many, each time with nothing kept from the one before. */
export async function measureProofs(entries: number, samples: number): Promise<ProveFigures> {
  const dir = await newFolder()
  try {
    await writeHistory(dir, { ended: Math.ceil(entries / 4), live: 0 })
    const key = await openLedgerKey({ file: ledgerKeyIn(dir), origin, create: false })
    const indexes = Array.from({ length: samples }, (_, i) => (i * 7_654_321 + 12_345) % entries)
    const proofs = await timesOf(indexes, (index) => prove(ledgerIn(dir), index, key.vkey))
    const ledger = await openFileLedger({ dir: ledgerIn(dir), origin, key, clock: systemClock, log: silentLog })
    const receipts = await timesOf(indexes, (index) => createReceipt(ledger, index))
    await ledger.close()
    return {
      entries,
      p50Ms: quantile(proofs, 0.5),
      p99Ms: quantile(proofs, 0.99),
      receiptP50Ms: quantile(receipts, 0.5),
      oldestGrantSeconds: await secondsToFindOldestGrant(ledgerIn(dir), entries),
    }
  } finally {
    await removeFolder(dir)
  }
}

async function prove(dir: string, index: number, vkey: string): Promise<void> {
  const log = provingFrom(createFolderSource(dir))
  const checkpoint = await log.checkpoint()
  const { bytes: entry } = await entryAt(log.tile, sizeIn(checkpoint), index)
  const receipt = await proveEntry({ checkpoint, index, tile: log.tile })
  verifyReceipt({ receipt, entry, keys: [parseVkey(vkey)] })
}

const sizeIn = (checkpoint: string): number => Number(checkpoint.split('\n')[1])

async function timesOf(indexes: readonly number[], work: (index: number) => Promise<unknown>): Promise<Float64Array> {
  const times = new Float64Array(indexes.length)
  for (const [i, index] of indexes.entries()) {
    const startedMs = performance.now()
    await work(index)
    times[i] = performance.now() - startedMs
  }
  return times.sort()
}

async function secondsToFindOldestGrant(dir: string, entries: number): Promise<number> {
  const log = provingFrom(createFolderSource(dir))
  const size = sizeIn(readFileSync(join(dir, 'checkpoint'), 'utf8'))
  const { grant } = JSON.parse((await entryAt(log.tile, size, 1)).bytes.toString())
  const startedMs = performance.now()
  let found = 0
  for await (const _ of findEntries(log.tile, size, grant)) found++
  if (found !== 4) throw new Error(`${found} entries of ${grant} in ${entries}`)
  return (performance.now() - startedMs) / 1000
}
