import { leafHash } from '../log/merkle.ts'
import type { TileId } from '../log/tile.ts'
import type { Base } from './base.ts'
import { closingAfter, type Disk } from './disk.ts'
import { frameBytes, recordLeaf } from './record.ts'
import { type Segment, scanRecords, segmentHeaderBytes } from './segments.ts'
import type { TileFiles } from './tile-files.ts'
import { createGrowingTiles, type GrowingTiles, type TileBytes } from './tiles.ts'

/** The tiles of a recovered log, and what had to be done for them. */
export interface Restored {
  readonly tiles: GrowingTiles
  /** Partial tiles that are on disk. */
  readonly partial: readonly TileId[]
  /** Full tiles that were missing or not as they must be, and were written again from the segments. */
  readonly rewritten: number
}

/**
 * Makes the tiles again from segments whose root has been compared with the checkpoint. Tiles are written without a sync while the
 * log grows, so after a crash any of them may be missing or short; the segments hold what they held.
 */
export async function restoreTiles(
  disk: Disk,
  files: TileFiles,
  from: { readonly base: Base; readonly segments: readonly Segment[] },
): Promise<Restored> {
  const tiles = createGrowingTiles(from.base.start)
  for (const entry of from.base.entries) tiles.append(entry, leafHash(entry))
  let rewritten = 0
  for (const segment of from.segments) {
    const file = await disk.open(segment.path, 'r')
    await closingAfter(file, async () => {
      for await (const { buffer, spans } of scanRecords(file, segmentHeaderBytes, segment.end)) {
        for (const [start, end] of spans) {
          tiles.append(buffer.subarray(start + frameBytes, end), Buffer.from(recordLeaf(buffer, start, end), 'hex'))
        }
        const full = tiles.takeFull()
        rewritten += await writeMissing(files, full)
        tiles.written(full)
      }
    })
  }
  const partial = tiles.partial()
  await writeMissing(files, partial)
  return { tiles, rewritten, partial: partial.map(({ id }) => id) }
}

async function writeMissing(files: TileFiles, wanted: readonly TileBytes[]): Promise<number> {
  let written = 0
  for (const tile of wanted) {
    const present = await files.read(tile.id)
    if (present === undefined || Buffer.compare(present, tile.bytes) !== 0) {
      await files.write([tile])
      written++
    }
    // What a crash kept from being removed.
    const { level, n, width } = tile.id
    const others = (await files.partialWidths(tile.id)).filter((other) => other !== width)
    await files.remove(others.map((other) => ({ level, n, width: other })))
  }
  return written
}
