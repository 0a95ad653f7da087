import type { Clock, Timer } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Ledger, StoredEntry } from '../ledger.ts'
import { leafHash } from '../log/merkle.ts'
import type { PublishedLog } from '../log/published.ts'
import { parseBundle, tileWidth } from '../log/tile.ts'
import { type Disk, makeFolder, nodeDisk } from '../store/disk.ts'
import {
  bundlesPerFile,
  entriesPerFile,
  type IndexFile,
  indexFolder,
  lowerBound,
  openIndexFile,
  type Postings,
  writeIndexFile,
} from './index-file.ts'
import { type Condition, eachTermHash, termHash } from './terms.ts'

/**
 * Says where in the record to look. It is never the truth: whoever asks reads the entries themselves and compares. What it has
 * not got to yet it says may hold anything, so that a question is answered right at any time, and slower while it is
 * being made.
 */
export interface EntryIndex {
  /** Entries it has gone through, from 0 on. */
  readonly size: number
  /**
   * For each of the 256 bundles of group `group` (entries `group * 65536` and on): 0 when none of its entries meets all
   * conditions, 1 when some may.
   */
  mayHold(group: number, conditions: readonly Condition[]): Promise<Uint8Array>
  /** Stops. The ledger stays open. */
  close(): Promise<void>
}

export interface EntryIndexOptions {
  readonly ledger: Ledger & PublishedLog
  /** Folder of the ledger; the index has a folder of its own in it, which can be deleted at any time. */
  readonly dir: string
  readonly clock: Clock
  readonly log: Log
  readonly fs?: Disk
}

/** After a failure to read the record or to keep the index. */
const retryMs = 10_000

/** The bundles of a group whose file is not written yet. */
interface Growing extends Postings {
  /** Sorted distinct hashes of each whole bundle. */
  readonly runs: Uint32Array[]
  /** Hashes of the bundle that is not whole yet. */
  open: Set<number>
}

/**
 * The index of a ledger: goes through what is not indexed yet in the background, a bundle at a time, and follows what is
 * appended from then on. Finished groups are files, of which a few kilobytes stay in memory.
 */
export function createEntryIndex({ ledger, dir, clock, log, fs: disk = nodeDisk }: EntryIndexOptions): EntryIndex {
  const groups: (Growing | IndexFile)[] = []
  const writing = new Set<Promise<void>>()
  let size = 0
  let closed = false
  let retry: Timer | undefined

  function add(entry: Parameters<typeof eachTermHash>[0], leaf: () => string): void {
    const group = size === groups.length * entriesPerFile ? begin() : groups.at(-1)
    if (group === undefined || !('runs' in group)) return
    eachTermHash(entry, (hash) => group.open.add(hash))
    size++
    if (size % tileWidth !== 0) return
    group.runs.push(Uint32Array.from(group.open).sort())
    group.open = new Set()
    if (group.runs.length === bundlesPerFile) track(keep(groups.length - 1, group, leaf()))
  }

  function begin(): Growing {
    const group = growing()
    groups.push(group)
    return group
  }

  /** Until its file is there, and when that cannot be written, the group stays in memory. */
  async function keep(place: number, group: Growing, lastLeafHash: string): Promise<void> {
    const covered = { first: place * entriesPerFile, lastLeafHash }
    try {
      await makeFolder(disk, indexFolder(dir))
      await writeIndexFile(disk, dir, covered, group.runs)
      const file = await openIndexFile(disk, dir, covered)
      if (file !== undefined) groups[place] = file
    } catch (error) {
      log.warn({ first: covered.first, error: messageOf(error) }, 'ledger.index_not_kept')
    }
  }

  function track(work: Promise<void>): void {
    writing.add(work)
    void work.finally(() => writing.delete(work))
  }

  async function catchUp(): Promise<void> {
    try {
      while (!closed && size < ledger.head().size) {
        if (!(await takeFile()) && !(await takeBundle())) await takeEntries()
      }
    } catch (error) {
      log.warn({ size, error: messageOf(error) }, 'ledger.index_behind')
      if (!closed) retry = clock.after(retryMs, () => track(catchUp()))
    }
  }

  /** The group that comes next, when it is on disk already. */
  async function takeFile(): Promise<boolean> {
    const first = size
    if (first !== groups.length * entriesPerFile) return false
    const last = await ledger.get(first + entriesPerFile - 1)
    if (last === undefined) return false
    const file = await openIndexFile(disk, dir, { first, lastLeafHash: last.leafHash }).catch((error: unknown) => {
      log.warn({ first, error: messageOf(error) }, 'ledger.index_unreadable')
      return undefined
    })
    if (file === undefined) return false
    if (closed) return file.close().then(() => true)
    groups.push(file)
    size += entriesPerFile
    return true
  }

  /** The bundle that comes next, when it is whole and published: its bytes are at hand, and need not be checked. */
  async function takeBundle(): Promise<boolean> {
    if (size % tileWidth !== 0 || size + tileWidth > ledger.signedSize()) return false
    const bytes = await ledger.tile({ level: 'entries', n: size / tileWidth, width: tileWidth })
    if (bytes === undefined) return false
    for (const entry of parseBundle(bytes, tileWidth)) {
      add(JSON.parse(entry.toString()), () => Buffer.from(leafHash(entry)).toString('hex'))
    }
    return true
  }

  /** What is left: the rest of a bundle, or entries that no checkpoint covers yet. */
  async function takeEntries(): Promise<void> {
    const end = (Math.floor(size / tileWidth) + 1) * tileWidth
    for await (const stored of ledger.read(size)) {
      follow(stored)
      if (closed || size >= end) return
    }
  }

  function follow(stored: StoredEntry): void {
    // An entry further on will come up when those before it have been gone through.
    if (stored.index === size && !closed) add(stored.entry, () => stored.leafHash)
  }

  const stopFollowing = ledger.subscribe(follow)
  track(catchUp())

  return {
    get size() {
      return size
    },
    async mayHold(place, conditions) {
      const group = groups[place]
      const flags = new Uint8Array(bundlesPerFile).fill(1)
      if (group === undefined) return flags
      // Read before asking: what is added meanwhile may hold anything.
      const known = group.bundles
      try {
        for (const { name, anyOf } of conditions) {
          const hashes = anyOf.map((value) => termHash(name, value))
          const found = new Set((await Promise.all(hashes.map((hash) => group.bundlesOf(hash)))).flat())
          for (let bundle = 0; bundle < known; bundle++) if (!found.has(bundle)) flags[bundle] = 0
        }
      } catch (error) {
        log.warn({ first: place * entriesPerFile, error: messageOf(error) }, 'ledger.index_unreadable')
        flags.fill(1)
      }
      return flags
    },
    async close() {
      closed = true
      stopFollowing()
      retry?.cancel()
      await Promise.all(writing)
      for (const group of groups) if (!('runs' in group)) await group.close()
    },
  }
}

function growing(): Growing {
  const runs: Uint32Array[] = []
  return {
    runs,
    open: new Set(),
    get bundles() {
      return runs.length
    },
    async bundlesOf(hash) {
      return runs.flatMap((run, place) => (run[lowerBound(run, hash)] === hash ? [place] : []))
    },
  }
}
