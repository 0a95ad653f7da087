import { BrokerFault } from '../base/errors.ts'
import { type Disk, type DiskFile, readUpTo } from './disk.ts'
import { entrySchema } from './entry.ts'
import type { StoredEntry } from './ledger.ts'
import { leafHash } from './merkle.ts'
import { maxRecordBytes, readFrame, recordLeaf, recordText } from './record.ts'
import type { Segment } from './segments.ts'
import { hashBytes, parseBundle, tileWidth } from './tile.ts'
import type { TileFiles } from './tile-files.ts'

const chunkBytes = 1 << 20

/** Reads durable entries back, from the segments and, where those are gone, from tiles; each is checked and parsed again. */
export interface Reader {
  read(from: number): AsyncIterable<StoredEntry>
  get(index: number): Promise<StoredEntry | undefined>
  /** Lets go of a segment that is no longer in the list. */
  forget(segment: Segment): Promise<void>
  close(): Promise<void>
}

/** Entries that follow one another, not parsed yet. */
interface Run {
  readonly first: number
  readonly entries: readonly { readonly text: string; readonly leafHash: string }[]
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
    const entries: Run['entries'][number][] = []
    let at = 0
    for (let found = readFrame(buffer, at); found !== undefined; found = readFrame(buffer, at)) {
      entries.push({ text: recordText(buffer, at, found.end), leafHash: recordLeaf(buffer, at, found.end) })
      at = found.end
    }
    if (entries.length === 0) throw unreadable(index, `at offset ${start} of ${segment.path}`)
    return { first: index, entries }
  }

  async function runOfTile(index: number): Promise<Run> {
    const n = Math.floor(index / tileWidth)
    const bundle = await files.read({ level: 'entries', n, width: tileWidth })
    const hashes = await files.read({ level: 0, n, width: tileWidth })
    try {
      const entries = parseBundle(bundle ?? Buffer.of(), tileWidth).map((bytes, i) => {
        const hash = Buffer.from(leafHash(bytes)).toString('hex')
        // The tree was built over what was written; what is read may be something else.
        if (hashes?.toString('hex', i * hashBytes, (i + 1) * hashBytes) !== hash) {
          throw unreadable(n * tileWidth + i, `in entry bundle ${n}`)
        }
        return { text: bytes.toString('utf8'), leafHash: hash }
      })
      return { first: index, entries: entries.slice(index % tileWidth) }
    } catch (cause) {
      throw cause instanceof BrokerFault ? cause : unreadable(index, `in entry bundle ${n}`, cause)
    }
  }

  return {
    async *read(from) {
      for (let index = from; index < size(); ) {
        for (const entry of (await runFrom(index, chunkBytes)).entries) {
          yield parse(index, entry)
          index++
        }
      }
    },
    async get(index) {
      if (!Number.isSafeInteger(index) || index < 0 || index >= size()) return undefined
      const [entry] = (await runFrom(index, maxRecordBytes)).entries
      if (entry === undefined) throw unreadable(index, 'it is not there')
      return parse(index, entry)
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

function parse(index: number, { text, leafHash: hash }: Run['entries'][number]): StoredEntry {
  try {
    return { index, leafHash: hash, entry: entrySchema.parse(JSON.parse(text)) }
  } catch {
    throw unreadable(index, 'it is not an entry this version can read')
  }
}

function unreadable(index: number, where: string, cause?: unknown): BrokerFault {
  return new BrokerFault('ledger_unavailable', `entry ${index} ${where} cannot be read back`, { cause })
}
