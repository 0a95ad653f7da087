import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import type { EntryFilter } from '../../src/contract/ledger.ts'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import type { StoredEntry } from '../../src/ledger/ledger.ts'
import { createEntryIndex, type EntryIndex } from '../../src/ledger/search/entry-index.ts'
import { entriesPerFile } from '../../src/ledger/search/index-file.ts'
import { createQueries } from '../../src/ledger/search/query.ts'
import { createSearch } from '../../src/ledger/search/search.ts'
import { type FileLedger, openFileLedger } from '../../src/ledger/store/file.ts'
import { eventually } from '../support/child.ts'
import { writeHistory } from './history.ts'
import { quantile } from './load.ts'
import { ledgerIn, ledgerKeyIn, newFolder, origin, removeFolder } from './serve.ts'

interface Times {
  readonly p50Ms: number
  readonly p99Ms: number
}

/** What the index of a long record costs, and what it is worth. */
export interface QueryFigures {
  readonly entries: number
  /** All four entries of a grant, anywhere in the record. */
  readonly byGrant: Times
  /** The issuance of a database user. */
  readonly byUser: Times
  /** The newest hundred of a workload. */
  readonly byWorkload: Times
  readonly bytesPerEntry: number
  /** To index an entry as it is appended, its share of writing the file included. */
  readonly perEntryUs: number
  readonly rebuildSeconds: number
  /** Longest time that making the index kept others from their turn. */
  readonly longestStallMs: number
  /** To open the index that is on disk, in the background. */
  readonly openSeconds: number
}

export async function measureQueries(entries: number, samples: number): Promise<QueryFigures> {
  const dir = await newFolder()
  try {
    await writeHistory(dir, { ended: Math.ceil(entries / 4), live: 0 })
    const key = await openLedgerKey({ file: ledgerKeyIn(dir), origin, create: false })
    const ledger = await openFileLedger({ dir: ledgerIn(dir), origin, key, clock: systemClock, log: silentLog })
    try {
      const rebuilt = await timeIndex(ledger, dir)
      await rebuilt.index.close()
      const opened = await timeIndex(ledger, dir)
      const figures = {
        entries,
        ...(await timeQueries(ledger, opened.index, samples)),
        bytesPerEntry: await bytesPerEntry(dir),
        perEntryUs: await timeAppending(ledger, dir),
        rebuildSeconds: rebuilt.seconds,
        longestStallMs: rebuilt.longestStallMs,
        openSeconds: opened.seconds,
      }
      await opened.index.close()
      return figures
    } finally {
      await ledger.close()
    }
  } finally {
    await removeFolder(dir)
  }
}

/** Makes or opens the index to its end, with nothing else to do, and looks how long the loop was held up. */
async function timeIndex(ledger: FileLedger, dir: string) {
  const startedMs = performance.now()
  const index = createEntryIndex({ ledger, dir: ledgerIn(dir), clock: systemClock, log: silentLog })
  let longestStallMs = 0
  // Processor time of the main thread: what others make the machine do is no stall of ours.
  for (let last = process.threadCpuUsage(); index.size < ledger.head().size; ) {
    await new Promise((resolve) => setImmediate(resolve))
    const { user, system } = process.threadCpuUsage(last)
    longestStallMs = Math.max(longestStallMs, (user + system) / 1000)
    last = process.threadCpuUsage()
  }
  const seconds = (performance.now() - startedMs) / 1000
  const files = Math.floor(ledger.head().size / entriesPerFile)
  await eventually(async () => (await indexFiles(dir)).length === files || undefined, 'every file of the index')
  return { index, seconds, longestStallMs }
}

const indexFiles = async (dir: string): Promise<string[]> =>
  (await readdir(join(ledgerIn(dir), 'index'))).filter((name) => name.endsWith('.idx'))

async function bytesPerEntry(dir: string): Promise<number> {
  const files = await indexFiles(dir)
  const sizes = await Promise.all(files.map((name) => stat(join(ledgerIn(dir), 'index', name))))
  return sizes.reduce((sum, { size }) => sum + size, 0) / (files.length * entriesPerFile)
}

async function timeQueries(ledger: FileLedger, index: EntryIndex, samples: number) {
  const query = createQueries(ledger, createSearch(ledger, index))
  const ask = async (filter: Partial<EntryFilter>, least: number): Promise<readonly StoredEntry['entry'][]> => {
    const answer = await query({ order: 'asc', limit: 100, ...filter }, undefined)
    if (!answer.ok || answer.value.entries.length < least) throw new Error(`too few for ${JSON.stringify(filter)}`)
    return answer.value.entries.map(({ entry }) => entry as StoredEntry['entry'])
  }
  const grants: string[] = []
  const users: string[] = []
  for (let i = 0; i < samples; i++) {
    const after = (i * 7_654_321 + 12_345) % (ledger.head().size - 5_000)
    const [issued] = await ask({ kind: 'grant.issued', after, limit: 1 }, 1)
    grants.push(issued?.grant ?? '')
    users.push(issued !== undefined && 'ids' in issued ? (issued.ids[0]?.value ?? '') : '')
  }
  return {
    byGrant: await timesOf(grants, (grant) => ask({ grant }, 4)),
    byUser: await timesOf(users, (id) => ask({ id }, 1)),
    byWorkload: await timesOf(grants, (_, i) => ask({ workload: `workload-${i % 500}`, order: 'desc' }, 100)),
  }
}

async function timesOf(
  values: readonly string[],
  work: (value: string, i: number) => Promise<unknown>,
): Promise<Times> {
  const times = new Float64Array(values.length)
  for (const [i, value] of values.entries()) {
    const startedMs = performance.now()
    await work(value, i)
    times[i] = performance.now() - startedMs
  }
  times.sort()
  return { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) }
}

/** Tells an index of entries as the ledger would, one file of it, with nothing but that to do. */
async function timeAppending(ledger: FileLedger, dir: string): Promise<number> {
  const entries: StoredEntry[] = []
  for await (const stored of ledger.read(0)) if (entries.push(stored) === entriesPerFile) break
  const folder = join(dir, 'appending')
  const perEntryUs: number[] = []
  for (let run = 0; run < 5; run++) {
    let tell: (stored: StoredEntry) => void = () => {}
    const empty: FileLedger = {
      ...ledger,
      head: () => ({ size: 0, root: '' }),
      subscribe(listener) {
        tell = listener
        return () => {}
      },
    }
    const index = createEntryIndex({ ledger: empty, dir: folder, clock: systemClock, log: silentLog })
    const before = process.cpuUsage()
    for (const stored of entries) tell(stored)
    await index.close()
    const { user, system } = process.cpuUsage(before)
    perEntryUs.push((user + system) / entries.length)
    await rm(folder, { recursive: true, force: true })
  }
  return Math.min(...perEntryUs)
}
