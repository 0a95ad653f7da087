import { BrokerFault } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import { type Checkpoint, signCheckpoint } from '../log/checkpoint.ts'
import { emptyRoot } from '../log/merkle.ts'
import { parseVkey, type SigningKey, type VerifierKey } from '../log/note.ts'
import { createSubtrees, type Subtrees } from '../log/subtrees.ts'
import { cutTile } from '../log/tile.ts'
import { refuseContradiction } from './anchor.ts'
import { type Disk, replaceFile } from './disk.ts'
import { checkpointPath, type Recovered, readCheckpoint, recover, uncosignedPath } from './recover.ts'
import { type Restored, restoreTiles } from './restore-tiles.ts'
import { listSegments } from './segments.ts'
import { createTileFiles, type TileFiles } from './tile-files.ts'
import type { GrowingTiles } from './tiles.ts'

/** A folder that was found sound, or made so, and can be gone on with. */
export interface Start extends Restored {
  readonly files: TileFiles
  readonly recovered: Recovered
  /** The checkpoint on disk and the entries it covers. */
  readonly newest: { readonly note: string; readonly size: number }
}

/**
 * Everything that must hold before a ledger is written to, in order: a checkpoint by a key of ours, entries that are those it
 * was signed for, tiles that hold them, and nothing elsewhere that contradicts them. Nothing is signed on the way.
 * @throws BrokerFault `ledger_unavailable`
 */
export async function startLedger(
  disk: Disk,
  of: {
    readonly dir: string
    readonly key: SigningKey
    readonly previousKey?: SigningKey
    readonly anchor?: string
    readonly archive?: string
    readonly log: Log
  },
): Promise<Start> {
  const keys = [of.key, ...(of.previousKey === undefined ? [] : [of.previousKey])].map(({ vkey }) => parseVkey(vkey))
  const { checkpoint, note } = await readOrSignFirst(disk, of, keys)
  const files = createTileFiles(disk, of.dir, of.archive)
  const recovered = await recover(disk, of.dir, files, checkpoint)
  try {
    const restored = await restoreTiles(disk, files, recovered)
    if (restored.rewritten > 0) of.log.warn({ tiles: restored.rewritten }, 'ledger.tiles_rewritten')
    const log = { dir: of.dir, subtrees: subtreesOf(files, restored.tiles) }
    for (const path of [uncosignedPath(of.dir), ...(of.anchor === undefined ? [] : [of.anchor])]) {
      await refuseContradiction(disk, { path, keys }, log)
    }
    return { files, recovered, newest: { note, size: checkpoint.size }, ...restored }
  } catch (error) {
    await recovered.tail.close()
    throw error
  }
}

/** A folder gets its first checkpoint, over nothing, before its first entry: from then on a missing one is a finding. */
async function readOrSignFirst(
  disk: Disk,
  { dir, key }: { readonly dir: string; readonly key: SigningKey },
  keys: readonly VerifierKey[],
): Promise<{ readonly checkpoint: Checkpoint; readonly note: string }> {
  const path = checkpointPath(dir)
  const found = await readCheckpoint(disk, path, keys)
  if (found !== undefined) return found
  if ((await listSegments(disk, dir)).length > 0) {
    throw new BrokerFault('ledger_unavailable', `${dir} holds entries and no checkpoint: restore the file checkpoint`)
  }
  const checkpoint = { origin: key.name, size: 0, root: emptyRoot }
  const note = signCheckpoint(checkpoint, key)
  await replaceFile(disk, path, Buffer.from(note), 0o644)
  return { checkpoint, note }
}

/** The tree over all of a growing log, from its tiles in memory and on disk. */
export function subtreesOf(files: TileFiles, tiles: GrowingTiles): Subtrees {
  return createSubtrees(tiles.size, async (id) => {
    const growing = tiles.find(id.level, id.n)
    const bytes = growing === undefined ? await files.readCut(id) : cutTile(growing.bytes, growing.id, id.width)
    if (bytes === undefined) throw new Error(`tile ${id.n} of level ${id.level} is missing`)
    return bytes
  })
}
