import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import type { EntryBody } from '../../src/ledger/entry.ts'
import type { StoredEntry } from '../../src/ledger/ledger.ts'
import { type SigningKey, signingKeyOf } from '../../src/ledger/log/note.ts'
import { type FileLedger, type FileLedgerOptions, openFileLedger } from '../../src/ledger/store/file.ts'
import { eventually } from './child.ts'
import { type FakeClock, fakeClock } from './clock.ts'
import { faultyDisk } from './faulty-disk.ts'

export const origin = 'writ.test/ledger'
/** The same key in every test, so that a folder can be opened again. */
export const testKey: SigningKey = signingKeyOf(origin, new Uint8Array(32).fill(7))

/** A ledger in a folder; the clock stands still, so no checkpoint is signed by itself. */
export const openTestLedger = (dir: string, options: Partial<FileLedgerOptions> = {}): Promise<FileLedger> =>
  openFileLedger({ dir, origin, key: testKey, clock: fakeClock(), log: silentLog, ...options })

/** Runs `use` with a folder that is gone afterwards. */
export async function withFolder<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'writ-ledger-'))
  try {
    return await use(dir)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** A ledger in a folder of its own, for tests that open it before each and close it after each; the folder goes when it is closed. */
export async function ledgerInFolder(
  options: Partial<FileLedgerOptions> = {},
): Promise<{ readonly dir: string; readonly ledger: FileLedger; close(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), 'writ-ledger-'))
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true })
  try {
    const ledger = await openTestLedger(dir, options)
    return { dir, ledger, close: () => ledger.close().finally(remove) }
  } catch (error) {
    await remove()
    throw error
  }
}

export async function collect(entries: AsyncIterable<StoredEntry>): Promise<StoredEntry[]> {
  const all: StoredEntry[] = []
  for await (const entry of entries) all.push(entry)
  return all
}

/** The file of the segment that begins with that entry. */
export const segmentFile = (dir: string, first = 0): string =>
  join(dir, 'segments', `${String(first).padStart(20, '0')}.log`)

/**
 * Leaves in `dir` what a crash would: every one of the batches is durable, none is covered by a checkpoint but the first one,
 * over nothing, and nothing was closed properly.
 */
export async function crashedLedger(dir: string, batches: readonly (readonly EntryBody[])[]): Promise<StoredEntry[]> {
  let broken = false
  const ledger = await openTestLedger(dir, { fs: faultyDisk(() => (broken ? 'fail' : 'do')) })
  for (const batch of batches) await Promise.all(batch.map((body) => ledger.append(body)))
  const entries = await collect(ledger.read(0))
  broken = true
  await ledger.close()
  return entries
}

/**
 * Waits for a checkpoint over everything there is. Time goes on for as long as that takes, because the next checkpoint is only due once
 * the one before is out of the way.
 */
export const published = (ledger: FileLedger, clock: FakeClock): Promise<true> =>
  eventually(async () => {
    await clock.advance(1000)
    return ledger.signedSize() === ledger.head().size || undefined
  }, 'a checkpoint over everything')
