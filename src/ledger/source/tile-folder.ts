import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { messageOf } from '../../base/errors.ts'
import { type TileId, tilePath, tileWidth } from '../log/tile.ts'
import { isCode } from '../store/disk.ts'
import { type FoundTile, maxCheckpointBytes, maxTileBytes, SourceError, type TileSource } from './tile-source.ts'

/**
 * Reads a log from a folder. It reads synchronously: whoever verifies waits for nothing else, and handing each file to another
 * thread and back would cost more than reading it.
 */
export function createFolderSource(dir: string): TileSource {
  // Bundles are by far the most of what is read. One buffer for all of them keeps memory where it is.
  const bundles = { bytes: Buffer.allocUnsafeSlow(256 * 1024) }

  function find(id: TileId): FoundTile | undefined {
    const path = tilePath(id)
    const bytes = read(join(dir, path), maxTileBytes(id), id.level === 'entries' ? bundles : undefined)
    return bytes && { path, width: id.width, bytes }
  }

  /** Widths of the wider partial tiles in the same place, the widest first. */
  function widerThan({ level, n, width }: TileId): number[] {
    const folder = join(dir, dirname(tilePath({ level, n, width: 1 })))
    try {
      return readdirSync(folder)
        .filter((name) => /^[1-9]\d{0,2}$/.test(name))
        .map(Number)
        .filter((other) => other > width && other < tileWidth)
        .sort((a, b) => b - a)
    } catch (cause) {
      if (isAbsent(cause)) return []
      throw unreadable(folder, cause)
    }
  }

  return {
    atOnce: 1,
    checkpoint: async () => readNote(join(dir, 'checkpoint')),
    manifest: async () => readNote(join(dir, 'manifest')),
    async tile(id) {
      const found = find(id)
      if (found !== undefined || id.width === tileWidth) return found
      // The writer makes the wider tile before it takes the narrower one away, so one of a few looks finds one of them.
      for (let look = 0; look < 3; look++) {
        for (const width of [tileWidth, ...widerThan(id)]) {
          const wider = find({ ...id, width })
          if (wider !== undefined) return wider
        }
      }
      return undefined
    },
    close: async () => {},
  }
}

function readNote(path: string): Buffer | undefined {
  const bytes = read(path, maxCheckpointBytes)
  if (bytes === undefined || bytes.length <= maxCheckpointBytes) return bytes
  throw new SourceError(`${path} is larger than ${maxCheckpointBytes} bytes`)
}

/** Reads a file, but no more than one byte beyond `maxBytes`; into a buffer that is there for it and grows with it if given. */
function read(path: string, maxBytes: number, into?: { bytes: Buffer }): Buffer | undefined {
  const file = open(path)
  if (file === undefined) return undefined
  try {
    const size = Math.min(fstatSync(file).size, maxBytes + 1)
    const bytes = into !== undefined && into.bytes.length >= size ? into.bytes : Buffer.allocUnsafeSlow(size)
    if (into !== undefined) into.bytes = bytes
    let length = 0
    for (let count = -1; count !== 0 && length < size; length += count) {
      count = readSync(file, bytes, length, size - length, length)
    }
    return bytes.subarray(0, length)
  } catch (cause) {
    throw unreadable(path, cause)
  } finally {
    closeSync(file)
  }
}

function open(path: string): number | undefined {
  try {
    // A pipe that nobody writes must not be waited for.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (cause) {
    if (isAbsent(cause)) return undefined
    throw unreadable(path, cause)
  }
}

const isAbsent = (cause: unknown): boolean => isCode(cause, 'ENOENT') || isCode(cause, 'ENOTDIR')

const unreadable = (path: string, cause: unknown): SourceError =>
  new SourceError(`${path} cannot be read: ${messageOf(cause)}`, { cause })
