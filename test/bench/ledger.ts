import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { openFileLedger } from '../../src/ledger/file.ts'
import { generateLedgerKey } from '../../src/ledger/keys.ts'
import { parseSkey } from '../../src/ledger/note.ts'
import { intentEntry } from '../support/entries.ts'
import { drive, median, perSecond, quantile } from './load.ts'
import { newFolder, origin, removeFolder } from './serve.ts'

/** What a durable record costs, and what the same disk does without it. */
export interface LedgerFigures {
  readonly syncMs: number
  readonly perSecond: number
  readonly p99Ms: number
}

/** Appends by 64 callers at once, each waiting for its entry to be durable; the middle of several runs. */
export async function measureLedger(runs: number, runMs: number): Promise<LedgerFigures> {
  const dir = await newFolder()
  try {
    const syncMs = await syncTime(dir, 800)
    const rates: number[] = []
    const p99s: number[] = []
    for (let run = 0; run < runs; run++) {
      const sample = await appendFor(join(dir, `run-${run}`), runMs)
      rates.push(perSecond(sample))
      p99s.push(quantile(sample.latenciesMs.toSorted(), 0.99))
    }
    return { syncMs, perSecond: median(rates), p99Ms: median(p99s) }
  } finally {
    await removeFolder(dir)
  }
}

async function appendFor(dir: string, runMs: number) {
  const key = parseSkey(generateLedgerKey(origin).skeyText)
  const ledger = await openFileLedger({ dir, origin, key, clock: systemClock, log: silentLog })
  let count = 0
  const append = async (): Promise<void> => {
    await ledger.append(intentEntry(count++))
  }
  try {
    await drive(append, 64, runMs / 4)
    return await drive(append, 64, runMs)
  } finally {
    await ledger.close()
  }
}

/** Median of write and fdatasync of that many bytes at the end of a file, without any of our code. */
async function syncTime(dir: string, bytes: number): Promise<number> {
  const file = await open(join(dir, 'plain'), 'w')
  const data = Buffer.alloc(bytes, 97)
  const times = new Float64Array(300)
  for (let i = 0; i < times.length; i++) {
    const startedMs = performance.now()
    await file.write(data, 0, bytes, i * bytes)
    await file.datasync()
    times[i] = performance.now() - startedMs
  }
  await file.close()
  return quantile(times.sort(), 0.5)
}
