import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { canonicalJson } from '../../src/ledger/canonical.ts'
import { signCheckpoint } from '../../src/ledger/checkpoint.ts'
import type { EntryBody } from '../../src/ledger/entry.ts'
import type { SigningKey } from '../../src/ledger/note.ts'
import { tilePath } from '../../src/ledger/tile.ts'
import { origin, testKey } from './ledger.ts'
import { naiveRoot } from './naive-tree.ts'

const sha256 = (...parts: readonly Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()

/** Root over 256 hashes that stand beside one another. */
function rootOf(hashes: readonly Buffer[]): Buffer {
  const [only] = hashes
  if (only !== undefined && hashes.length === 1) return only
  const half = hashes.length / 2
  return sha256(Buffer.of(1), rootOf(hashes.slice(0, half)), rootOf(hashes.slice(half)))
}

function bundleOf(entries: readonly Buffer[]): Buffer {
  return Buffer.concat(entries.flatMap((entry) => [Buffer.of(entry.length >> 8, entry.length & 255), entry]))
}

/** Every tile of a log, computed from all its entries at once, by path. */
function tilesOf(entries: readonly Buffer[]): Map<string, Buffer> {
  const tiles = new Map<string, Buffer>()
  const cut = <T>(items: readonly T[], level: number | 'entries', bytesOf: (items: readonly T[]) => Buffer): T[][] => {
    const groups = Array.from({ length: Math.ceil(items.length / 256) }, (_, n) => items.slice(n * 256, n * 256 + 256))
    groups.forEach((group, n) => {
      tiles.set(tilePath({ level, n, width: group.length }), bytesOf(group))
    })
    return groups
  }
  cut(entries, 'entries', bundleOf)
  let hashes = entries.map((entry) => sha256(Buffer.of(0), entry))
  for (let level = 0; hashes.length > 0; level++) {
    const groups = cut(hashes, level, Buffer.concat)
    hashes = groups.filter((group) => group.length === 256).map(rootOf)
  }
  return tiles
}

/** A folder that holds a log as C2SP tlog-tiles has it, whatever the payloads say, and its checkpoint. */
export async function writeTileLog(
  dir: string,
  payloads: readonly (string | Uint8Array)[],
  key: SigningKey = testKey,
): Promise<void> {
  const entries = payloads.map((payload) => Buffer.from(payload))
  for (const [path, bytes] of tilesOf(entries)) {
    await mkdir(dirname(join(dir, path)), { recursive: true })
    await writeFile(join(dir, path), bytes)
  }
  await mkdir(dir, { recursive: true })
  const checkpoint = { origin, size: entries.length, root: naiveRoot(entries) }
  await writeFile(join(dir, 'checkpoint'), signCheckpoint(checkpoint, key))
}

/** The canonical text of an entry, a second later for each index. */
export const stampedEntry = (body: EntryBody, index = 0): string =>
  canonicalJson({ ...body, v: 1, time: new Date(Date.UTC(2026, 10, 22, 12, 0, index)).toISOString() })
