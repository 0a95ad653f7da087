import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { type FileLedger, type FileLedgerOptions, openFileLedger } from '../../src/ledger/file.ts'
import type { StoredEntry } from '../../src/ledger/ledger.ts'
import { type SigningKey, signingKeyOf } from '../../src/ledger/note.ts'
import { fakeClock } from './clock.ts'

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

export async function collect(entries: AsyncIterable<StoredEntry>): Promise<StoredEntry[]> {
  const all: StoredEntry[] = []
  for await (const entry of entries) all.push(entry)
  return all
}
