import { tilePath, tileWidth, widthAt } from '../log/tile.ts'
import type { TileSource } from '../source/tile-source.ts'
import { nodeDisk } from '../store/disk.ts'
import { entriesIn } from './bundle-check.ts'
import type { EntryBatch, EntryCheck } from './entry-check.ts'
import type { Findings } from './problem.ts'
import { type WalkEnd, type WalkedRecords, walk } from './walk.ts'

export interface SegmentCheck {
  readonly dir: string
  /** The tiles in the same folder. */
  readonly log: TileSource
  /** Entries that the checkpoint covers; `undefined` without a checkpoint to go by. */
  readonly signedSize: number | undefined
  /** Has checked those entries, and goes on with the ones after them. */
  readonly entries: EntryCheck
  readonly findings: Findings
  /** Whether the checkpoint that is in the folder by now covers that many entries. */
  readonly coveredByNow: (entries: number) => Promise<boolean>
}

/** What stands after the entries that the checkpoint covers. */
export interface Unsigned {
  readonly entries: number
  /** Bytes at the very end that are no whole record. */
  readonly unfinishedBytes: number
}

/** A segment that a broker takes away while it is looked for makes another look necessary. */
const mostLooks = 5

/**
 * Checks the segments of a folder: a record that the checkpoint covers must be the entry in the bundle byte for byte, and those after it
 * must follow on, be sound and go on with the story. Memory does not grow with them.
 * @throws SourceError, system errors
 */
export async function checkSegments(check: SegmentCheck): Promise<Unsigned> {
  const { dir, signedSize, entries, findings } = check
  const bundleAt = bundleReader(check)
  let next = signedSize
  let first: number | undefined

  async function take(records: WalkedRecords): Promise<void> {
    const count = records.spans.length / 2
    first ??= records.first
    // Without a checkpoint the story can begin anywhere.
    if (next === undefined && first > 0) entries.skip()
    next ??= first
    const covered = Math.min(count, Math.max(0, (signedSize ?? 0) - records.first))
    await compare(records, covered)
    const seen = Math.max(0, next - records.first)
    // Records after a hole are not of the story; `noteEnd` tells of the hole.
    if (seen >= count || records.first > next) return
    const unseen = { ...records, first: records.first + seen, spans: records.spans.slice(2 * seen) }
    findings.add(...(await entries.next(unseen)))
    next = records.first + count
  }

  /** Compares the first records with their bundles; within a bundle nothing is allocated, because there may be many of them. */
  async function compare({ first, path, bytes, base, spans }: WalkedRecords, covered: number): Promise<void> {
    const size = signedSize ?? 0
    for (let i = 0; i < covered; ) {
      const n = Math.floor((first + i) / tileWidth)
      const bundle = await bundleAt(n, size)
      for (const end = Math.min(covered, (n + 1) * tileWidth - first); i < end; i++) {
        const start = spans[2 * i] ?? 0
        const stop = spans[2 * i + 1]
        const place = 2 * (first + i - n * tileWidth)
        if (bundle === undefined) continue
        if (bundle.bytes.compare(bytes, start, stop, bundle.spans[place], bundle.spans[place + 1]) === 0) continue
        const index = first + i
        const message = `entry ${index} in ${path} is not the one in ${bundlePath(index, size)}`
        findings.add({ rule: 'segment', message, index, path, offset: base + start })
      }
    }
  }

  for (let look = 1; ; look++) {
    first = undefined
    const end = await walk(nodeDisk, dir, take)
    if (end.state === 'gone' && look < mostLooks) continue
    if (end.path !== '') await noteEnd(check, end, next ?? end.index, first ?? end.index)
    const unfinishedBytes = end.state === 'whole' ? end.unfinishedBytes : 0
    return { entries: (next ?? 0) - (signedSize ?? first ?? 0), unfinishedBytes }
  }
}

/** `next` is the first entry that was not seen, `first` the one that the segments begin with. */
async function noteEnd(
  { signedSize = 0, findings, coveredByNow }: SegmentCheck,
  end: WalkEnd,
  next: number,
  first: number,
): Promise<void> {
  const { index, path, offset } = end
  const add = (message: string): void => findings.add({ rule: 'segment', message, index, path, offset })
  // What a newer checkpoint covers was moved on to tiles while older ones were being checked.
  if (first > next) {
    if (!(await coveredByNow(first)))
      add(`entries ${next} to ${first - 1} stand neither in signed tiles nor in segments`)
  } else if (end.state === 'gone') {
    if (!(await coveredByNow(index + 1))) add(`${path} was there and is not any more`)
  } else if (end.state === 'damaged') {
    add(`${end.message}; nothing after it was checked`)
  } else if (index < signedSize) {
    // The checkpoint covers what should stand here, so this is not a write that nobody was told about.
    add(`entry ${index} is damaged or cut short`)
  }
}

const bundlePath = (index: number, size: number): string => {
  const n = Math.floor(index / tileWidth)
  return tilePath({ level: 'entries', n, width: widthAt(size, 'entries', n) })
}

/** Bundles, of which it keeps the newest; `undefined` for one that cannot be read, which was told before. */
function bundleReader({ log }: SegmentCheck): (n: number, size: number) => Promise<EntryBatch | undefined> {
  let at = -1
  let bundle: EntryBatch | undefined
  return async (n, size) => {
    if (n === at) return bundle
    const id = { n, width: widthAt(size, 'entries', n) }
    const found = await log.tile({ level: 'entries', ...id })
    at = n
    bundle = found && entriesIn(id, found, { push() {} })
    return bundle
  }
}
