import { dirname, join } from 'node:path'
import { cutTile, hashBytes, maxBundleBytes, type TileId, tilePath, tileWidth } from '../log/tile.ts'
import { closingAfter, type Disk, isCode, type Memory, readSmallFile, syncFolder, writeAll } from './disk.ts'
import type { TileBytes } from './tiles.ts'

/** The tiles of a log in its folder, laid out as they are served. */
export interface TileFiles {
  /**
   * Writes tiles under their own names. They are not synced: until `sync` a power cut may take them, and the segments still hold
   * what they hold. No reader looks for a tile before a checkpoint covers it, so a half-written one is nobody's.
   */
  write(tiles: readonly TileBytes[]): Promise<void>
  /** Makes tiles and the folders that lead to them durable. */
  sync(ids: Iterable<TileId>): Promise<void>
  read(id: TileId, memory?: Memory): Promise<Buffer | undefined>
  /** The tile in that width, or cut from a wider one. */
  readCut(id: TileId): Promise<Buffer | undefined>
  /** Widths in which a partial tile stands there. */
  partialWidths(id: TileId): Promise<readonly number[]>
  /** Removes partial tiles that wider ones have replaced. */
  remove(ids: Iterable<TileId>): Promise<void>
}

/** Full entry bundles that are no longer in `dir` are looked up in `archive`. */
export function createTileFiles(disk: Disk, dir: string, archive?: string): TileFiles {
  const folders = new Set<string>()
  const place = (id: TileId): string => join(dir, tilePath(id))

  async function write({ id, bytes }: TileBytes): Promise<void> {
    const path = place(id)
    const folder = dirname(path)
    if (!folders.has(folder)) await disk.mkdir(folder, { recursive: true, mode: 0o700 })
    folders.add(folder)
    const file = await disk.open(path, 'w', 0o600)
    await closingAfter(file, () => writeAll(file, bytes, 0))
  }

  async function read(id: TileId, memory?: Memory): Promise<Buffer | undefined> {
    const isBundle = id.level === 'entries'
    const bytes = await readSmallFile(disk, place(id), isBundle ? maxBundleBytes : tileWidth * hashBytes, memory)
    if (bytes !== undefined || archive === undefined || !isBundle || id.width < tileWidth) return bytes
    return readSmallFile(disk, join(archive, tilePath(id)), maxBundleBytes)
  }

  async function partialWidths({ level, n }: TileId): Promise<readonly number[]> {
    const names = await disk.readdir(dirname(place({ level, n, width: 1 }))).catch((error: unknown) => {
      if (isCode(error, 'ENOENT')) return []
      throw error
    })
    return names.filter((name) => /^[1-9]\d{0,2}$/.test(name)).map(Number)
  }

  return {
    read,
    partialWidths,
    async readCut(id) {
      const { level, n, width } = id
      const exact = await read(id)
      if (exact !== undefined || width === tileWidth) return exact
      const widths = [...(await partialWidths(id)), tileWidth].filter((wider) => wider > width).sort((a, b) => a - b)
      for (const wider of widths) {
        const bytes = await read({ level, n, width: wider })
        if (bytes !== undefined) return cutTile(bytes, { level, n, width: wider }, width)
      }
      return undefined
    },
    async write(tiles) {
      for (const tile of tiles) await write(tile)
    },
    async sync(ids) {
      const toSync = new Set<string>()
      for (const id of ids) {
        const path = place(id)
        const file = await disk.open(path, 'r')
        await closingAfter(file, () => file.sync())
        for (let folder = dirname(path); folder.length >= dir.length; folder = dirname(folder)) toSync.add(folder)
      }
      for (const folder of toSync) await syncFolder(disk, folder)
    },
    async remove(ids) {
      for (const id of ids) {
        const path = place(id)
        await disk.unlink(path).catch(unlessIs('ENOENT'))
        // Goes with the last partial tile: a log of a million entries would leave eight thousand empty folders.
        await disk.rmdir(dirname(path)).then(() => folders.delete(dirname(path)), unlessIs('ENOENT', 'ENOTEMPTY'))
      }
    },
  }
}

const unlessIs =
  (...codes: readonly string[]) =>
  (error: unknown): void => {
    if (!isCode(error, ...codes)) throw error
  }
