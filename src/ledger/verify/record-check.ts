import { tilePath, tileWidth, widthAt } from '../log/tile.ts'
import type { TileSource } from '../source/tile-source.ts'
import { type BundleId, entriesIn, type FoundBundle, findBundle, hashesIn, hashLeaves } from './bundle-check.ts'
import { type EntryBatch, type EntryCheck, looksOurs } from './entry-check.ts'
import type { Findings, Problem } from './problem.ts'
import { createRanges, mostRanges, type Range } from './ranges.ts'
import { createTreeCheck } from './tree-check.ts'
import type { Head } from './trust.ts'
import type { VerifyProgress } from './verify-state-schema.ts'

export interface RecordCheck {
  /** The log, and where else to look for bundles that it has not. */
  readonly sources: readonly [TileSource, ...TileSource[]]
  readonly head: Head
  readonly entries: EntryCheck
  /** Whether entries that are plainly not of writ mean that it was pointed at another kind of log. */
  readonly ours: boolean
  readonly findings: Findings
  /** Where an earlier run was interrupted. */
  readonly from: VerifyProgress | undefined
  readonly signal: AbortSignal | undefined
  /** Entries so far, those of the earlier run among them. */
  readonly onProgress: ((entries: number) => void) | undefined
  /** Keeps what a later run can go on from: whenever it is due, and when this one cannot go on; nothing while anything is wrong. */
  readonly keeper: Keeper | undefined
}

export interface Keeper {
  due(): boolean
  keep(progress: VerifyProgress): Promise<void>
}

export interface CheckedRecord {
  /** Entries that were read. */
  readonly entries: number
  /** Entries whose bundles are not there. */
  readonly absent: readonly Range[]
}

/** A log with more problems than this is not looked at any further. */
const mostProblems = 10_000
/** Bundles whose entries are being checked while further ones are read. */
const mostAhead = 2

/**
 * Checks everything that a checkpoint covers, bundle by bundle in the order of entries: each bundle with its tile, every tile above, what
 * the entries say, and the root over it all. Memory does not grow with entries, and nothing is asked for before what comes ahead of it
 * was there, whatever size the checkpoint claims.
 * @throws SourceError, or the reason of the signal, when it could not go on
 */
export async function checkRecord(check: RecordCheck): Promise<CheckedRecord> {
  const { head, entries, findings, from, keeper } = check
  const tree = createTreeCheck(check.sources[0], head, findings, from?.levels)
  const absent = createRanges(from?.absent)
  const told: Promise<readonly Problem[]>[] = []
  let read = absent.all.reduce((sum, [start, end]) => sum - (end - start), tree.size)
  let between = true

  /** Waits until no more than so many bundles are being checked. */
  async function settle(most: number): Promise<void> {
    for (const problems of told.splice(0, told.length - most)) findings.add(...(await problems))
  }

  async function keep(): Promise<void> {
    if (keeper === undefined || !between) return
    await settle(0)
    if (findings.count > 0 || tree.size % tileWidth !== 0) return
    const [said, meaning] = await Promise.all([entries.said(), entries.meaning()])
    await keeper.keep({ levels: tree.state(), absent: absent.all, ...said, meaning })
  }

  /** Takes one bundle; false when what comes after it cannot be checked. */
  async function take(found: FoundBundle): Promise<boolean> {
    const { id } = found
    const first = id.n * tileWidth
    const problems = { push: findings.add }
    const tile = hashesIn({ level: 0, ...id }, found.hashes, problems)
    const batch = found.entries && entriesIn(id, found.entries, problems)
    if (batch === undefined) entries.skip()
    else if (check.ours && first === 0 && !looksOurs(firstOf(batch))) {
      return stop('this is not a log of writ: --entries any checks its tree alone')
    } else {
      told.push(quietly(entries.next(batch)))
      read += id.width
    }
    if (found.entries === undefined && !absent.add([first, first + id.width])) {
      return stop(`more than ${mostRanges} ranges of bundles are missing`)
    }
    if (!(await tree.add(id, { leaves: batch && hashLeaves(batch), tile }))) {
      return stop(`there is neither ${pathOf(id)} nor a hash of it`)
    }
    return findings.count <= mostProblems || stop('there are too many problems')
  }

  function stop(message: string): false {
    findings.add({ rule: 'stopped', message: `${message}; nothing further was checked` })
    return false
  }

  if (tree.size > head.size) {
    const message = `${tree.size} entries were verified before, and the checkpoint is over ${head.size}: it was rolled back`
    findings.add({ rule: 'resume', message })
    return { entries: read, absent: absent.all }
  }
  try {
    for await (const found of inOrder(check, tree.size / tileWidth)) {
      check.signal?.throwIfAborted()
      between = false
      const goOn = await take(found)
      await settle(goOn ? mostAhead : 0)
      if (!goOn) return { entries: read, absent: absent.all }
      between = true
      check.onProgress?.(tree.size)
      if (keeper?.due()) await keep()
    }
    await settle(0)
    if (Buffer.compare(await tree.finish(), head.root) !== 0) {
      const range = head.size === 0 ? 'no entries' : `entries 0 to ${head.size - 1}`
      const message = `the signed checkpoint is of other data: the root over ${range} is not the one it states`
      findings.add({ rule: 'root', message })
    }
    return { entries: read, absent: absent.all }
  } catch (error) {
    // Why it could not go on matters more than that it could not be kept.
    await keep().catch(() => {})
    throw error
  }
}

/** The same promise, which may be rejected without anybody waiting for it. */
function quietly<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

const firstOf = ({ bytes, spans }: EntryBatch): Buffer => bytes.subarray(spans[0], spans[1])

const pathOf = ({ n, width }: BundleId): string => tilePath({ level: 'entries', n, width })

/** The bundles from the `from`th on, asked for as many at once as the source takes, and given in order. */
async function* inOrder({ sources, head: { size } }: RecordCheck, from: number): AsyncGenerator<FoundBundle> {
  const asked: Promise<FoundBundle>[] = []
  for (let n = from; n * tileWidth < size || asked.length > 0; ) {
    while (n * tileWidth < size && asked.length < sources[0].atOnce) {
      asked.push(quietly(findBundle(sources, { n, width: widthAt(size, 'entries', n) })))
      n++
    }
    const next = await asked.shift()
    if (next !== undefined) yield next
  }
}
