import { hash } from 'node:crypto'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { generateLedgerKey } from '../../src/ledger/keys.ts'
import { parseSkey } from '../../src/ledger/log/note.ts'
import { openFileLedger } from '../../src/ledger/store/file.ts'
import { intentEntry, issuedEntry } from '../support/entries.ts'
import { drive, median, perSecond, quantile } from './load.ts'
import { newFolder, origin, removeFolder } from './serve.ts'

/** What a durable record costs, and what the same disk and processor do without it. */
export interface LedgerFigures {
  /** Write and fdatasync of 800 bytes at the end of a file, without any of our code, in turns with single appends. */
  readonly syncMs: number
  readonly singleMs: number
  /** By 64 callers at once, tiles and checkpoints included. */
  readonly perSecond: number
  readonly p99Ms: number
  /** SHA-256 of 800 bytes by one thread. */
  readonly hashesPerSecond: number
  /** On disk for one intent and one issuance, when their segments have gone. */
  readonly bytesPerIssuance: number
}

const bytesOfEntry = 800

/** The middle of several runs. */
export async function measureLedger(runs: number, runMs: number): Promise<LedgerFigures> {
  const dir = await newFolder()
  try {
    const rates: number[] = []
    const p99s: number[] = []
    for (let run = 0; run < runs; run++) {
      const sample = await appendFor(join(dir, `run-${run}`), runMs)
      rates.push(perSecond(sample))
      p99s.push(quantile(sample.latenciesMs.toSorted(), 0.99))
    }
    return {
      ...(await measureSingle(dir)),
      perSecond: median(rates),
      p99Ms: median(p99s),
      hashesPerSecond: hashRate(),
      bytesPerIssuance: await bytesOf(join(dir, 'bytes')),
    }
  } finally {
    await removeFolder(dir)
  }
}

const openAt = (dir: string, over: { readonly segmentBytes?: number } = {}) =>
  openFileLedger({
    dir,
    origin,
    key: parseSkey(generateLedgerKey(origin).skeyText),
    clock: systemClock,
    log: silentLog,
    ...over,
  })

async function appendFor(dir: string, runMs: number) {
  const ledger = await openAt(dir)
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

/** One append at a time, and what one write and fdatasync takes on the same disk, in turns so that both meet the same weather. */
async function measureSingle(dir: string): Promise<{ readonly syncMs: number; readonly singleMs: number }> {
  const ledger = await openAt(join(dir, 'single'))
  const file = await open(join(dir, 'plain'), 'w')
  const data = Buffer.alloc(bytesOfEntry, 97)
  const syncs = new Float64Array(500)
  const appends = new Float64Array(500)
  try {
    for (let i = 0; i < syncs.length; i++) {
      const startedMs = performance.now()
      await file.write(data, 0, bytesOfEntry, i * bytesOfEntry)
      await file.datasync()
      const betweenMs = performance.now()
      await ledger.append(intentEntry(i))
      syncs[i] = betweenMs - startedMs
      appends[i] = performance.now() - betweenMs
    }
  } finally {
    await file.close()
    await ledger.close()
  }
  return { syncMs: quantile(syncs.sort(), 0.5), singleMs: quantile(appends.sort(), 0.5) }
}

function hashRate(): number {
  const data = Buffer.alloc(bytesOfEntry, 97)
  const untilMs = performance.now() + 300
  let count = 0
  for (; performance.now() < untilMs; count += 100) for (let i = 0; i < 100; i++) hash('sha256', data, 'hex')
  return count / 0.3
}

async function bytesOf(dir: string): Promise<number> {
  const issuances = 4096
  const ledger = await openAt(dir, { segmentBytes: 64 * 1024 })
  for (let from = 0; from < issuances; from += 256) {
    const some = Array.from({ length: 256 }, (_, i) => from + i)
    await Promise.all(some.flatMap((n) => [ledger.append(intentEntry(n)), ledger.append(issuedEntry(n))]))
  }
  await ledger.close()
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size),
  )
  return sizes.reduce((sum, size) => sum + size, 0) / issuances
}
