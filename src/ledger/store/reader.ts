import { BrokerFault } from '../../base/errors.ts'
import { entrySchema } from '../entry.ts'
import type { StoredEntry } from '../ledger.ts'
import { leafHash } from '../log/merkle.ts'
import { hashBytes, parseBundle, tileWidth } from '../log/tile.ts'
import { type Disk, type DiskFile, readUpTo } from './disk.ts'
import { maxRecordBytes, readFrame, recordLeaf, recordText } from './record.ts'
import type { Segment } from './segments.ts'
import type { TileFiles } from './tile-files.ts'

const chunkBytes = 1 << 20
/** What is read at once where only some entries are wanted, as large as a usual bundle. */
const pickBytes = 256 * 1024

/** Reads durable entries back, from the segments and, where those are gone, from tiles; each is checked and parsed again. */
export interface Reader {
  read(from: number): AsyncIterable<StoredEntry>
  get(index: number): Promise<StoredEntry | undefined>
  pick(indexes: Iterable<number>): AsyncIterable<StoredEntry>
  /** Lets go of a segment that is no longer in the list. */
  forget(segment: Segment): Promise<void>
  close(): Promise<void>
}

/** Entries that follow one another; each is checked when it is asked for. */
interface Run {
  readonly first: number
  readonly count: number
  /** @throws BrokerFault when the entry is not what was written */
  at(i: number): { readonly text: string; readonly leafHash: string }
}

/** `segments` may grow, and shrink from the front, while the reader lives; `size` is the number of durable entries. */
export function createReader(disk: Disk, files: TileFiles, segments: readonly Segment[], size: () => number): Reader {
  const open = new Map<Segment, Promise<DiskFile>>()

  function fileOf(segment: Segment): Promise<DiskFile> {
    const known = open.get(segment)
    if (known !== undefined) return known
    const file = disk.open(segment.path, 'r')
    open.set(segment, file)
    // A failed open is tried again by the next reader.
    file.catch(() => open.delete(segment))
    return file
  }

  /** At least the entry `index`, and more of what follows it when `bytes` allow. */
  async function runFrom(index: number, bytes: number): Promise<Run> {
    const segment = segments.findLast(({ first }) => first <= index)
    if (segment === undefined) return runOfTile(index)
    try {
      return await runOfSegment(segment, index, bytes)
    } catch (error) {
      // It was retired while it was being read, so the tiles have what it had.
      if (!segments.includes(segment)) return runOfTile(index)
      throw error
    }
  }

  async function runOfSegment(segment: Segment, index: number, bytes: number): Promise<Run> {
    const start = segment.offsets.at(index - segment.first)
    if (start === undefined) throw new RangeError(`no entry ${index}`)
    let buffer: Buffer
    try {
      const file = await fileOf(segment)
      buffer = await readUpTo(file, Math.min(bytes, segment.end - start), start)
    } catch (cause) {
      throw unreadable(index, `at offset ${start} of ${segment.path}`, cause)
    }
    const spans: [start: number, end: number][] = []
    let at = 0
    for (let found = readFrame(buffer, at); found !== undefined; found = readFrame(buffer, at)) {
      spans.push([at, found.end])
      at = found.end
    }
    if (spans.length === 0) throw unreadable(index, `at offset ${start} of ${segment.path}`)
    return {
      first: index,
      count: spans.length,
      at(i) {
        const [from = 0, to = 0] = spans[i] ?? []
        return { text: recordText(buffer, from, to), leafHash: recordLeaf(buffer, from, to) }
      },
    }
  }

  async function runOfTile(index: number): Promise<Run> {
    const n = Math.floor(index / tileWidth)
    const hashes = await files.read({ level: 0, n, width: tileWidth })
    const bundle = await files.read({ level: 'entries', n, width: tileWidth })
    const skipped = index % tileWidth
    let entries: readonly Buffer[]
    try {
      entries = parseBundle(bundle ?? Buffer.of(), tileWidth)
    } catch (cause) {
      throw unreadable(index, `in entry bundle ${n}`, cause)
    }
    return {
      first: index,
      count: tileWidth - skipped,
      at(i) {
        const place = skipped + i
        const bytes = entries[place] ?? Buffer.of()
        const hash = Buffer.from(leafHash(bytes)).toString('hex')
        // The tree was built over what was written; what is read may be something else.
        if (hashes?.toString('hex', place * hashBytes, (place + 1) * hashBytes) !== hash) {
          throw unreadable(index + i, `in entry bundle ${n}`)
        }
        return { text: bytes.toString('utf8'), leafHash: hash }
      },
    }
  }

  return {
    async *read(from) {
      for (let index = from; index < size(); ) {
        const run = await runFrom(index, chunkBytes)
        for (let i = 0; i < run.count; i++) yield parse(index++, run.at(i))
      }
    },
    async *pick(indexes) {
      let run: Run | undefined
      for (const index of indexes) {
        if (run === undefined || index < run.first || index >= run.first + run.count)
          run = await runFrom(index, pickBytes)
        yield parse(index, run.at(index - run.first))
      }
    },
    async get(index) {
      if (!Number.isSafeInteger(index) || index < 0 || index >= size()) return undefined
      return parse(index, (await runFrom(index, maxRecordBytes)).at(0))
    },
    async forget(segment) {
      const file = open.get(segment)
      open.delete(segment)
      await (await file)?.close()
    },
    async close() {
      for (const file of open.values()) await (await file).close()
      open.clear()
    },
  }
}

function parse(index: number, { text, leafHash: hash }: ReturnType<Run['at']>): StoredEntry {
  try {
    return { index, leafHash: hash, entry: entrySchema.parse(JSON.parse(text)) }
  } catch {
    throw unreadable(index, 'it is not an entry this version can read')
  }
}

function unreadable(index: number, where: string, cause?: unknown): BrokerFault {
  return new BrokerFault('ledger_unavailable', `entry ${index} ${where} cannot be read back`, { cause })
}
