import { join } from 'node:path'
import { closingAfter, type Disk, type DiskFile, syncFolder, writeAll } from './disk.ts'
import { describeSegment, type Segment, segmentHeader, segmentsFolder } from './segments.ts'

/**
 * The file `segments/next`, written full of zeros before it is needed. A write into what was written before changes no size and takes no
 * new blocks, so its fdatasync need not wait for the journal of the file system, where the syncs of tiles stand in line. It
 * spares time alone: what fails here is no failure of the ledger, which makes its segments empty then.
 */
export interface Spare {
  /** Begins to write the file, unless that was begun for the segment after this one. */
  prepare(): void
  /**
   * Makes it the segment that begins with that entry, durably; `undefined` when it is not ready. Rejects with what the disk says: by
   * then the name may be taken.
   */
  take(first: number): Promise<readonly [Segment, DiskFile]> | undefined
  /** Ends the writing and removes the file. */
  drop(): Promise<void>
}

export function createSpare(disk: Disk, dir: string, bytes: number): Spare {
  const path = join(segmentsFolder(dir), 'next')
  let filling: Promise<void> | undefined
  let ready: DiskFile | undefined
  let failed = false
  let dropped = false

  async function fill(): Promise<void> {
    try {
      const file = await disk.open(path, 'w+', 0o600)
      try {
        await writeZeros(file)
        ready = file
      } catch (error) {
        await file.close()
        throw error
      }
    } catch {
      failed = true
      // A full disk gets back what was taken.
      await remove()
    }
  }

  async function writeZeros(file: DiskFile): Promise<void> {
    const zeros = Buffer.alloc(Math.min(bytes, zerosBytes))
    for (let at = 0; at < bytes && !dropped; at += zeros.length) {
      await writeAll(file, zeros.subarray(0, bytes - at), at)
      // In small parts, for an append on the same disk waits for each of them.
      await file.datasync()
    }
    await file.sync()
  }

  // Left where it cannot be removed: the next one replaces it, and nobody reads it.
  const remove = (): Promise<void> => disk.unlink(path).catch(() => undefined)

  async function become(file: DiskFile, first: number): Promise<readonly [Segment, DiskFile]> {
    const segment = describeSegment(dir, first)
    try {
      await writeAll(file, segmentHeader(first), 0)
      // Before the name: no segment of that name is ever without its header.
      await file.datasync()
      await disk.rename(path, segment.path)
      await syncFolder(disk, segmentsFolder(dir))
      return [segment, file]
    } catch (error) {
      await file.close()
      throw error
    }
  }

  return {
    prepare() {
      if (!dropped) filling ??= fill()
    },
    take(first) {
      const file = ready
      if (file !== undefined || failed) filling = undefined
      ready = undefined
      failed = false
      return file === undefined ? undefined : become(file, first)
    },
    async drop() {
      dropped = true
      await filling
      const file = ready
      ready = undefined
      if (file !== undefined) await closingAfter(file, remove)
    },
  }
}

const zerosBytes = 512 * 1024
