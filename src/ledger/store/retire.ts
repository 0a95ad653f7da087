import { BrokerFault } from '../../base/errors.ts'
import { hashBytes, parseBundle, type TileId, tilesBetween, tileWidth } from '../log/tile.ts'
import { closingAfter, type Disk, reusedMemory, syncFolder } from './disk.ts'
import { frameBytes, recordLeaf } from './record.ts'
import { type Segment, scanRecords, segmentHeaderBytes, segmentsFolder } from './segments.ts'
import type { TileFiles } from './tile-files.ts'

/** Removes segments once their entries stand in full tiles that are durable and covered by a checkpoint. */
export interface Retirement {
  /** Looks whether a checkpoint over `signedSize` entries lets segments go. Never rejects; a failure goes to `onError`. */
  start(signedSize: number): void
  /** Resolves when nothing is being removed any more. */
  settled(): Promise<void>
}

// Between two chunks the loop is free for appends.
const atOnce = 32 * 1024

export function createRetirement(options: {
  readonly disk: Disk
  readonly dir: string
  readonly files: TileFiles
  /** Shrunk in place, from its start; the last one is being written and stays. */
  readonly segments: Segment[]
  /** Called when a segment has left the list, before its file goes. */
  readonly onRetired: (segment: Segment) => Promise<void>
  readonly onError: (cause: unknown) => void
}): Retirement {
  const { disk, dir, files, segments, onRetired, onError } = options
  /** Full tiles over entries before this one are durable. */
  let syncedTo = (segments[0]?.first ?? 0) - ((segments[0]?.first ?? 0) % tileWidth)
  const scan = { atOnce, memory: reusedMemory() }
  const [bundleMemory, hashMemory] = [reusedMemory(), reusedMemory()]
  let signedSize = 0
  let working: Promise<void> | undefined
  let failed = false

  async function retire(): Promise<void> {
    for (;;) {
      const [segment, next] = segments
      if (segment === undefined || next === undefined || next.first > signedSize - (signedSize % tileWidth)) return
      const end = Math.ceil(next.first / tileWidth) * tileWidth
      await compare(segment)
      await files.sync(fullTiles(syncedTo, end))
      syncedTo = Math.max(syncedTo, end)
      segments.shift()
      await onRetired(segment)
      await disk.unlink(segment.path)
      await syncFolder(disk, segmentsFolder(dir))
    }
  }

  /** Reads back what is about to be the only copy, for what was written need not be what can be read. */
  async function compare(segment: Segment): Promise<void> {
    let index = segment.first
    let tile: ReadTile | undefined
    const file = await disk.open(segment.path, 'r')
    await closingAfter(file, async () => {
      for await (const { buffer, spans } of scanRecords(file, segmentHeaderBytes, segment.end, scan)) {
        for (const [start, end] of spans) {
          const n = Math.floor(index / tileWidth)
          if (tile?.n !== n) tile = await readTile(n)
          const at = index % tileWidth
          const leaf = tile.hashes.toString('hex', at * hashBytes, (at + 1) * hashBytes)
          const entry = tile.entries[at]
          const same = entry !== undefined && Buffer.compare(entry, buffer.subarray(start + frameBytes, end)) === 0
          if (!same || leaf !== recordLeaf(buffer, start, end)) throw damagedTile(n)
          index++
        }
      }
    })
    if (index !== segment.first + segment.offsets.count) {
      throw new BrokerFault('ledger_unavailable', `${segment.path} cannot be read back: entry ${index} is damaged`)
    }
  }

  /** Valid until the next one is read. */
  async function readTile(n: number): Promise<ReadTile> {
    const bundle = await files.read({ level: 'entries', n, width: tileWidth }, bundleMemory)
    const hashes = await files.read({ level: 0, n, width: tileWidth }, hashMemory)
    if (bundle === undefined || hashes?.length !== tileWidth * hashBytes) throw damagedTile(n)
    return { n, hashes, entries: parseBundle(bundle, tileWidth) }
  }

  return {
    start(size) {
      signedSize = size
      if (failed || working !== undefined) return
      working = retire()
        .catch((cause: unknown) => {
          failed = true
          onError(cause)
        })
        .finally(() => {
          working = undefined
        })
    },
    async settled() {
      await working
    },
  }
}

interface ReadTile {
  readonly n: number
  readonly hashes: Buffer
  readonly entries: readonly Buffer[]
}

function* fullTiles(from: number, to: number): Generator<TileId> {
  for (const id of tilesBetween(from, to)) if (id.width === tileWidth) yield id
}

const damagedTile = (n: number): BrokerFault =>
  new BrokerFault(
    'ledger_unavailable',
    `tile ${n} does not hold what was written to it: the disk is failing or somebody changed it`,
  )
