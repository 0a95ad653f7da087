import { dirname, join } from 'node:path'
import { BrokerFault } from '../../base/errors.ts'
import type { Actor } from '../entry.ts'
import { maxBundleBytes, type TileId, tilePath, tileWidth } from '../log/tile.ts'
import { type Disk, isCode, makeFolder, readSmallFile, replaceFile } from './disk.ts'

/** Entries whose full bundles were moved, `to` not included. */
export interface Archived {
  readonly from: number
  readonly to: number
  readonly bundles: number
}

/** A ledger that can move what is old to a second folder. */
export interface Archive {
  /**
   * Moves full entry bundles of entries before `before` to the archive, and records which. Entries that the segments still hold stay.
   * @throws BrokerFault `state_conflict` without an archive or while one is under way; `ledger_unavailable`
   */
  archive(order: { readonly before: number; readonly actor: Actor }): Promise<Archived>
}

const bundleId = (n: number): TileId => ({ level: 'entries', n, width: tileWidth })

/**
 * Moves full entry bundles to another folder: each is copied, synced and read back before `record` is asked to put the move on record, and
 * the originals go only after that. The hash tiles stay, so every proof can still be made. Interrupted anywhere it leaves
 * every bundle in at least one place, and doing it again finishes it.
 * @throws BrokerFault `ledger_unavailable` when a bundle is missing or its copy is not what was copied
 */
export async function archiveBundles(options: {
  readonly disk: Disk
  readonly dir: string
  readonly to: string
  /** Entries before this one may go. */
  readonly before: number
  readonly record: (moved: Archived) => Promise<void>
}): Promise<Archived> {
  const { disk, dir, to, before, record } = options
  const end = Math.floor(before / tileWidth)
  const first = await firstPresent(disk, dir, end)
  const folders = new Set<string>()
  for (let n = first; n < end; n++) await copy(disk, dir, to, n, folders)
  const moved = { from: first * tileWidth, to: end * tileWidth, bundles: Math.max(0, end - first) }
  if (moved.bundles === 0) return { ...moved, to: moved.from }
  await record(moved)
  for (let n = first; n < end; n++) await disk.unlink(join(dir, tilePath(bundleId(n))))
  return moved
}

/** The first bundle that is still in the folder; those before it were moved earlier, in order. */
async function firstPresent(disk: Disk, dir: string, end: number): Promise<number> {
  let [low, high] = [0, end]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (await isPresent(disk, join(dir, tilePath(bundleId(middle))))) high = middle
    else low = middle + 1
  }
  return low
}

async function isPresent(disk: Disk, path: string): Promise<boolean> {
  try {
    await (await disk.open(path, 'r')).close()
    return true
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false
    throw error
  }
}

async function copy(disk: Disk, dir: string, to: string, n: number, folders: Set<string>): Promise<void> {
  const path = tilePath(bundleId(n))
  const bytes = await readSmallFile(disk, join(dir, path), maxBundleBytes)
  if (bytes === undefined) throw new BrokerFault('ledger_unavailable', `${join(dir, path)} is missing`)
  const target = join(to, path)
  if (!folders.has(dirname(target))) await makeFolder(disk, dirname(target))
  folders.add(dirname(target))
  await replaceFile(disk, target, bytes, 0o600)
  const back = await readSmallFile(disk, target, maxBundleBytes)
  if (back === undefined || Buffer.compare(back, bytes) !== 0) {
    throw new BrokerFault('ledger_unavailable', `${target} does not hold what was copied to it`)
  }
}
