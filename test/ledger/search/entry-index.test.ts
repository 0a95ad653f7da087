import { copyFile, mkdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../../src/base/log.ts'
import type { EntryBody } from '../../../src/ledger/entry.ts'
import { createEntryIndex, type EntryIndexOptions } from '../../../src/ledger/search/entry-index.ts'
import { entriesPerFile } from '../../../src/ledger/search/index-file.ts'
import { createSearch } from '../../../src/ledger/search/search.ts'
import type { Condition } from '../../../src/ledger/search/terms.ts'
import { nodeDisk } from '../../../src/ledger/store/disk.ts'
import { eventually } from '../../support/child.ts'
import { fakeClock } from '../../support/clock.ts'
import { grantOf, issuedEntry } from '../../support/entries.ts'
import { withFolder } from '../../support/ledger.ts'
import { appendAll, indexed, type TestRecord, withRecord } from '../../support/record.ts'

/** More than one file of the index covers, and not a whole number of bundles. */
const count = entriesPerFile + 700

function* entries(): Generator<EntryBody> {
  // A grant has three entries that follow one another; workload and kind are never those of the same entry.
  for (let n = 0; n < count; n++) {
    yield {
      ...issuedEntry(Math.floor(n / 3)),
      workload: n % 2 === 0 ? 'even' : 'odd',
      owner: n % 2 === 0 ? 'blue' : 'red',
    }
  }
}

// One large record for the whole file: making it is most of the work.
let record: TestRecord
let done: () => void
let closed: Promise<unknown>
beforeAll(async () => {
  const ready = Promise.withResolvers<void>()
  closed = withRecord(async (made) => {
    record = made
    await appendAll(made.ledger, entries())
    ready.resolve()
    await new Promise<void>((resolve) => {
      done = resolve
    })
  }).catch(ready.reject)
  await ready.promise
}, 120_000)
afterAll(async () => {
  done()
  await closed
})

const firstFile = (dir: string): string => join(dir, 'index', `${'0'.repeat(20)}.idx`)
const grant = (n: number): Condition => ({ name: 'grant', anyOf: [grantOf(n)] })
const bundlesOf = (flags: Uint8Array): number[] => [...flags.keys()].filter((bundle) => flags[bundle] === 1)

/** Another index of the same record, in a folder of its own. */
async function withIndex<T>(
  options: Partial<EntryIndexOptions>,
  use: (index: ReturnType<typeof createEntryIndex>) => Promise<T>,
): Promise<T> {
  const made = createEntryIndex({
    ledger: record.ledger,
    dir: record.dir,
    clock: fakeClock(),
    log: silentLog,
    ...options,
  })
  try {
    return await use(made)
  } finally {
    await made.close()
  }
}

/** The index in `dir`, made in one go from the record. */
async function makeIndex(dir: string): Promise<void> {
  await withIndex({ dir }, async (index) => {
    await indexed({ ledger: record.ledger, index })
    await eventually(() => stat(firstFile(dir)).catch(() => undefined), 'the file of the index')
  })
}

/** How many bundles are read to make an index, over what is in `dir` already. */
async function bundlesRead(dir: string): Promise<number> {
  let read = 0
  const ledger: TestRecord['ledger'] = {
    ...record.ledger,
    tile: (id) => {
      read++
      return record.ledger.tile(id)
    },
  }
  await withIndex({ dir, ledger }, async (index) => {
    await indexed({ ledger, index })
    expect(bundlesOf(await index.mayHold(0, [grant(1_000)]))).toEqual([11])
  })
  return read
}

describe('an index that follows a record', () => {
  test('leads to every bundle that holds what is asked for, and to hardly any other', async () => {
    await indexed(record)
    for (const n of [0, 85, 1_000, 21_844]) {
      const holding = new Set([n * 3, n * 3 + 2].map((index) => Math.floor(index / 256)))
      expect(bundlesOf(await record.index.mayHold(0, [grant(n)]))).toEqual([...holding])
    }
    expect(bundlesOf(await record.index.mayHold(0, [grant(99_999)]))).toEqual([])
    expect(bundlesOf(await record.index.mayHold(0, [{ name: 'workload', anyOf: ['odd', 'even'] }]))).toHaveLength(256)
    expect(bundlesOf(await record.index.mayHold(0, [{ name: 'workload', anyOf: [] }]))).toEqual([])
    expect(bundlesOf(await record.index.mayHold(0, []))).toHaveLength(256)
  })

  test('says of the bundle that is not full yet, and of what there is not, that it may hold anything', async () => {
    const flags = await record.index.mayHold(1, [grant(99_999)])
    expect(bundlesOf(flags)).toEqual([...Array(254).keys()].map((n) => n + 2))
    expect(bundlesOf(await record.index.mayHold(2, [grant(99_999)]))).toHaveLength(256)
  })

  test('takes some ten bytes an entry on disk, and keeps the file to itself', async () => {
    const { size, mode } = await eventually(() => stat(firstFile(record.dir)).catch(() => undefined), 'the file')
    expect(size / entriesPerFile).toBeLessThan(20)
    expect(mode & 0o777).toBe(0o600)
  })
})

describe('an index file', () => {
  test('is used by the next start, which reads no entry of it', () =>
    withFolder(async (dir) => {
      await makeIndex(dir)
      expect(await bundlesRead(dir)).toBe(2)
    }))

  test.each([
    ['is not there', (path: string) => rm(path)],
    ['is empty', (path: string) => truncate(path, 0)],
    ['is torn', async (path: string) => truncate(path, (await stat(path)).size - 1)],
    ['holds one wrong bit', (path: string) => flip(path, 40_000)],
    ['says that it is of another record', (path: string) => flip(path, 20)],
    ['says that it covers other entries', (path: string) => flip(path, 15)],
    ['says that it holds more than it does', (path: string) => flip(path, 50)],
    ['is of a version to come', (path: string) => flip(path, 7)],
    ['is something else', (path: string) => writeFile(path, 'x'.repeat(5_000))],
  ])('that %s is made again from the record', (_, spoil) =>
    withFolder(async (dir) => {
      await mkdir(join(dir, 'index'))
      await makeIndex(record.dir)
      await copyFile(firstFile(record.dir), firstFile(dir))
      const sound = await readFile(firstFile(dir))
      await spoil(firstFile(dir))
      expect(await bundlesRead(dir)).toBe(258)
      await eventually(async () => (await readFile(firstFile(dir))).equals(sound) || undefined, 'the same file')
    }),
  )

  test('of another record that is as long is thrown away', () =>
    withFolder(async (dir) => {
      await makeIndex(dir)
      await withRecord(
        async (other) => {
          await appendAll(
            other.ledger,
            [...Array(entriesPerFile).keys()].map((n) => issuedEntry(n)),
          )
          await withIndex({ dir, ledger: other.ledger }, async (index) => {
            await indexed({ ledger: other.ledger, index })
            expect(bundlesOf(await index.mayHold(0, [grant(1_000)]))).toEqual([3])
          })
        },
        { index: { dir: join(dir, 'other') } },
      )
    }))

  test('that cannot be written stays in memory and answers', () =>
    withFolder(async (dir) => {
      const full = { ...nodeDisk, open: () => Promise.reject(new Error('no space')) }
      await withIndex({ dir, fs: full }, async (index) => {
        await indexed({ ledger: record.ledger, index })
        expect(bundlesOf(await index.mayHold(0, [grant(1_000)]))).toEqual([11])
      })
      await expect(stat(firstFile(dir))).rejects.toThrow('ENOENT')
    }))

  test('that can no longer be read says that anything may be there', () =>
    withFolder(async (dir) => {
      await makeIndex(dir)
      let broken = false
      const fs = {
        ...nodeDisk,
        async open(path: string, flags: string, mode?: number) {
          const file = await nodeDisk.open(path, flags, mode)
          const read: typeof file.read = (...asked) => (broken ? Promise.reject(new Error('EIO')) : file.read(...asked))
          return { read, close: () => file.close(), stat: () => file.stat() } as typeof file
        },
      }
      await withIndex({ dir, fs }, async (index) => {
        await indexed({ ledger: record.ledger, index })
        broken = true
        expect(bundlesOf(await index.mayHold(0, [grant(1_000)]))).toHaveLength(256)
      })
    }))
})

describe('while an index is being made', () => {
  test('questions are answered right, and others get their turn after every bundle', () =>
    withFolder(async (dir) => {
      let turns = 0
      let counting = true
      const count = (): void => {
        turns++
        if (counting) setImmediate(count)
      }
      setImmediate(count)
      try {
        await withIndex({ dir }, async (index) => {
          const search = createSearch(record.ledger, index)
          const asked = { from: 0, to: record.ledger.head().size, descending: false, limit: 10 }
          let answers = 0
          while (index.size < record.ledger.head().size) {
            const found = await search({ ...asked, conditions: [grant(1_000)] })
            expect(found.entries.map(({ index }) => index)).toEqual([3_000, 3_001, 3_002])
            answers++
          }
          expect(answers).toBeGreaterThan(1)
        })
      } finally {
        counting = false
      }
      expect(turns).toBeGreaterThan(256)
    }))

  test('it is left where it is by closing, and goes on after a failure to read', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      let failures = 1
      const ledger: TestRecord['ledger'] = {
        ...record.ledger,
        tile: (id) => (id.n === 5 && failures-- > 0 ? Promise.reject(new Error('EIO')) : record.ledger.tile(id)),
      }
      await withIndex({ dir, ledger, clock }, async (index) => {
        await eventually(async () => failures < 1 || undefined, 'the failure')
        expect(index.size).toBe(5 * 256)
        await clock.advance(10_000)
        await indexed({ ledger, index })
      })
      await withIndex({ dir: join(dir, 'other') }, async (index) => {
        await index.close()
        const { size } = index
        await new Promise((resolve) => setImmediate(resolve))
        expect(index.size).toBe(size)
      })
    }))
})

test('a search reads so much and no more: it ends early and says where to go on', async () => {
  await indexed(record)
  const size = record.ledger.head().size
  // Both are in every bundle, and never in one entry.
  const conditions: Condition[] = [
    { name: 'workload', anyOf: ['odd'] },
    { name: 'owner', anyOf: ['blue'] },
  ]
  /** What a search that has nothing at hand finds, and how many bundles it reads. */
  async function searched(from: number, descending: boolean): Promise<unknown> {
    let read = 0
    const tile: TestRecord['ledger']['tile'] = (id) => {
      if (id.level === 'entries') read++
      return record.ledger.tile(id)
    }
    const search = createSearch({ ...record.ledger, tile }, record.index)
    return [await search({ conditions, from, to: size, descending, limit: 10 }), read]
  }
  expect(await searched(0, false)).toEqual([{ entries: [], next: 65_535 }, 256])
  expect(await searched(65_536, false)).toEqual([{ entries: [], next: null }, 3])
  expect(await searched(0, true)).toEqual([{ entries: [], next: 768 }, 256])
})

test('bundles that were read are at hand for the next search, up to a bound', async () => {
  await indexed(record)
  const reads: number[] = []
  const tile: TestRecord['ledger']['tile'] = (id) => {
    if (id.level === 'entries') reads.push(id.n)
    return record.ledger.tile(id)
  }
  const search = createSearch({ ...record.ledger, tile }, record.index)
  const look = (from: number, to: number) => search({ conditions: [], from, to, descending: false, limit: 1_000 })
  await look(0, 512)
  await look(0, 512)
  expect(reads).toEqual([0, 1])
  for (let n = 0; n < 250; n += 2) await look(n * 256, n * 256 + 512)
  await look(0, 512)
  expect(reads.slice(-2)).toEqual([0, 1])
  await look(249 * 256, 250 * 256)
  expect(reads.filter((n) => n === 249)).toHaveLength(1)
})

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  await writeFile(path, bytes)
}
