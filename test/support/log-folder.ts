import { cp, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type VerifyOptions, type VerifyReport, verifyLedger } from '../../src/ledger/verify/check.ts'
import { numberedEntry, stampedEntry } from './entries.ts'
import { testKey, withFolder } from './ledger.ts'
import { naiveRootOfHashes } from './naive-tree.ts'

/** Entries of writ, as small as they come, for logs that are long. */
export const smallEntries = (count: number): string[] =>
  Array.from({ length: count }, (_, n) => stampedEntry(numberedEntry(n), n))

/** Verifies a folder with the key of tests. */
export const verifyDir = (dir: string, more: Partial<Omit<VerifyOptions, 'dir' | 'url'>> = {}): Promise<VerifyReport> =>
  verifyLedger({ dir, vkey: testKey.vkey, ...more })

/** Every file of a folder, below it. */
export async function filesIn(dir: string): Promise<string[]> {
  const found = await readdir(dir, { recursive: true, withFileTypes: true })
  return found
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .sort()
}

/** Runs `use` with a copy of a folder, which is gone afterwards. */
export const withCopy = <T>(dir: string, use: (copy: string) => Promise<T>): Promise<T> =>
  withFolder(async (copy) => {
    await cp(dir, copy, { recursive: true })
    return use(copy)
  })

/** Replaces what a file holds by what `change` makes of it. */
export async function edit(path: string, change: (bytes: Buffer) => Uint8Array): Promise<void> {
  await writeFile(path, change(await readFile(path)))
}

/** The same bytes with one bit of one of them turned. */
export function flipped(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes)
  changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
  return changed
}

/** Replaces one hash of a tile and returns the root over the whole tile. */
export async function putHash(path: string, i: number, hash: Uint8Array): Promise<Buffer> {
  await edit(path, (bytes) => Buffer.concat([bytes.subarray(0, 32 * i), hash, bytes.subarray(32 * i + 32)]))
  const bytes = await readFile(path)
  return naiveRootOfHashes(Array.from({ length: bytes.length / 32 }, (_, n) => bytes.subarray(32 * n, 32 * n + 32)))
}
