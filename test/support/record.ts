import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import type { EntryBody } from '../../src/ledger/entry.ts'
import { createEntryIndex, type EntryIndex, type EntryIndexOptions } from '../../src/ledger/search/entry-index.ts'
import { createSearch, type SearchLedger } from '../../src/ledger/search/search.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { eventually } from './child.ts'
import { openTestLedger, withFolder } from './ledger.ts'

/** A ledger that signs by itself, its index and the search over both. */
export interface TestRecord {
  readonly dir: string
  readonly ledger: FileLedger
  readonly index: EntryIndex
  readonly search: SearchLedger
}

/** Opens a record in a folder and closes it after `use`. Times are of the machine unless `now` says otherwise. */
export async function withRecord<T>(
  use: (record: TestRecord) => Promise<T>,
  options: { readonly dir?: string; readonly now?: () => number; readonly index?: Partial<EntryIndexOptions> } = {},
): Promise<T> {
  if (options.dir === undefined) return withFolder((dir) => withRecord(use, { ...options, dir }))
  const { dir } = options
  const clock = { ...systemClock, now: options.now ?? systemClock.now }
  const ledger = await openTestLedger(dir, { clock, checkpointIntervalMs: 5 })
  const index = createEntryIndex({ ledger, dir, clock, log: silentLog, ...options.index })
  try {
    return await use({ dir, ledger, index, search: createSearch(ledger, index) })
  } finally {
    await index.close()
    await ledger.close()
  }
}

/** Appends entries, many at once but in order, and waits until a checkpoint covers them. */
export async function appendAll(ledger: FileLedger, bodies: Iterable<EntryBody>): Promise<void> {
  let batch: Promise<unknown>[] = []
  for (const body of bodies) {
    batch.push(ledger.append(body))
    if (batch.length < 4_096) continue
    await Promise.all(batch)
    batch = []
  }
  await Promise.all(batch)
  await signed(ledger)
}

const signed = (ledger: FileLedger): Promise<unknown> =>
  eventually(async () => ledger.signedSize() === ledger.head().size || undefined, 'a checkpoint over everything')

export const indexed = ({ ledger, index }: Pick<TestRecord, 'ledger' | 'index'>): Promise<unknown> =>
  eventually(async () => index.size === ledger.head().size || undefined, 'an index of everything')
