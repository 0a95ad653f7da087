import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EntryFilter } from '../../../src/contract/ledger.ts'
import type { EntryBody } from '../../../src/ledger/entry.ts'
import type { StoredEntry } from '../../../src/ledger/ledger.ts'
import { createQueries, firstNotBefore } from '../../../src/ledger/search/query.ts'
import { createSearch, type Found, type Search } from '../../../src/ledger/search/search.ts'
import { grantOf, intentEntry, issuedEntry, numberedEntry } from '../../support/entries.ts'
import { collect } from '../../support/ledger.ts'
import { appendAll, indexed, type TestRecord, withRecord } from '../../support/record.ts'

const filter = (query: Partial<EntryFilter> = {}): EntryFilter => ({ order: 'asc', limit: 100, ...query })
/** An index that has not got to anything yet. */
const noIndex = { mayHold: async () => new Uint8Array(256).fill(1) }

/** Entries of few workloads and owners, in which everything turns up many times and in every mixture. */
function* mixed(count: number): Generator<EntryBody> {
  for (let n = 0; n < count; n++) {
    const body = n % 2 === 0 ? intentEntry(Math.floor(n / 5)) : issuedEntry(Math.floor(n / 5))
    yield { ...body, workload: `w${(n * 7) % 5}`, owner: `team${(n * 11) % 3}`, request: `rq_${n % 400}` }
  }
}

const searches = fc.record({
  conditions: fc.uniqueArray(
    fc.oneof(
      fc.record({ name: fc.constant('workload' as const), anyOf: fc.constantFrom(['w1'], ['w4'], ['none'], []) }),
      fc.record({
        name: fc.constant('owner' as const),
        anyOf: fc.constantFrom(['team0'], ['team0', 'team2'], ['x', 'y']),
      }),
      fc.record({ name: fc.constant('kind' as const), anyOf: fc.constantFrom(['grant.issued'], ['grant.intent']) }),
      fc.record({ name: fc.constant('grant' as const), anyOf: fc.nat(650).map((n) => [grantOf(n)]) }),
      fc.record({ name: fc.constant('id' as const), anyOf: fc.nat(650).map((n) => [`v-checkout-${n}`]) }),
      fc.record({ name: fc.constant('request' as const), anyOf: fc.nat(420).map((n) => [`rq_${n}`]) }),
    ),
    { selector: ({ name }) => name, maxLength: 3 },
  ),
  from: fc.nat(3_100),
  to: fc.nat(3_100),
  descending: fc.boolean(),
  limit: fc.constantFrom(3, 50, 1_000),
})

/** Every page of a search, one after the other. */
async function allPages(search: (asked: Search) => Promise<Found>, asked: Search): Promise<StoredEntry[]> {
  const found: StoredEntry[] = []
  for (let { from, to } = asked; ; ) {
    const { entries, next } = await search({ ...asked, from, to })
    expect(entries.length).toBeLessThanOrEqual(asked.limit)
    found.push(...entries)
    if (next === null) return found
    if (asked.descending) to = next
    else from = next + 1
  }
}

/** What a search should find, worked out by looking at every entry and at its JSON. */
function naively(all: readonly StoredEntry[], { conditions, from, to, descending }: Search): StoredEntry[] {
  const found = all.slice(from, to).filter(({ entry }) =>
    conditions.every(({ name, anyOf }) => {
      const values: unknown[] =
        name === 'id' ? ('ids' in entry ? entry.ids.map(({ value }) => value) : []) : [(entry as never)[name]]
      return anyOf.some((value) => values.includes(value))
    }),
  )
  return descending ? found.reverse() : found
}

describe('a search finds what looking at every entry would find, in either order and in pages', () => {
  const check = (all: readonly StoredEntry[], search: (asked: Search) => Promise<Found>) =>
    fc.assert(
      fc.asyncProperty(searches, async (drawn) => {
        const asked = { ...drawn, to: Math.min(drawn.to, all.length) }
        expect(await allPages(search, asked)).toEqual(naively(all, asked))
      }),
      { numRuns: 40 },
    )

  test('with an index, without one, and with one that is half made', () =>
    withRecord(async (record) => {
      await appendAll(record.ledger, mixed(3_000))
      await indexed(record)
      const all = await collect(record.ledger.read(0))
      await check(all, record.search)
      await check(all, createSearch(record.ledger, noIndex))
      const halfMade: TestRecord['index']['mayHold'] = async (...asked) =>
        (await record.index.mayHold(...asked)).fill(1, 5)
      await check(all, createSearch(record.ledger, { mayHold: halfMade }))
    }))

  test('where no checkpoint covers the end yet', () =>
    withRecord(async (record) => {
      await appendAll(record.ledger, mixed(700))
      const size = record.ledger.signedSize()
      await Promise.all([...mixed(500)].map((body) => record.ledger.append(body)))
      await indexed(record)
      const all = await collect(record.ledger.read(0))
      await check(all, createSearch({ ...record.ledger, signedSize: () => size }, record.index))
      await check(all, createSearch({ ...record.ledger, signedSize: () => 0 }, record.index))
    }))
})

describe('a query', () => {
  test('gives pages by cursors that stay right while the record grows', () =>
    withRecord(async ({ ledger, search }) => {
      await appendAll(ledger, [0, 1, 2, 3, 4].map(numberedEntry))
      const query = createQueries(ledger, search)
      const page = async (asked: Partial<EntryFilter>) => {
        const answer = await query(filter(asked), undefined)
        if (!answer.ok) throw new Error(answer.refusal.code)
        return [answer.value.entries.map(({ index }) => index), answer.value.next]
      }
      expect(await page({ limit: 2 })).toEqual([[0, 1], 1])
      expect(await page({ limit: 2, order: 'desc' })).toEqual([[4, 3], 3])
      await appendAll(ledger, [5, 6].map(numberedEntry))
      expect(await page({ limit: 2, after: 1 })).toEqual([[2, 3], 3])
      expect(await page({ limit: 2, order: 'desc', before: 3 })).toEqual([[2, 1], 1])
      expect(await page({ limit: 1, order: 'desc', before: 1 })).toEqual([[0], null])
      expect(await page({ limit: 3, after: 3 })).toEqual([[4, 5, 6], null])
      expect(await page({ after: 1, before: 4 })).toEqual([[2, 3], null])
      for (const none of [{ after: 6 }, { after: 900 }, { before: 0 }, { after: 3, before: 3 }]) {
        expect(await page(none)).toEqual([[], null])
        expect(await page({ ...none, order: 'desc' })).toEqual([[], null])
      }
    }))

  test('bounds times to the millisecond, from the first to before the last', async () => {
    let now = Date.UTC(2026, 10, 22)
    const at = (ms: number): string => new Date(Date.UTC(2026, 10, 22) + ms).toISOString()
    await withRecord(
      async ({ ledger, search }) => {
        // Times 0, 0, 0, 10, 10, 10, 20, …
        for (let n = 0; n < 12; n++) {
          await ledger.append(numberedEntry(n))
          if (n % 3 === 2) now += 10
        }
        const query = createQueries(ledger, search)
        const indexes = async (asked: Partial<EntryFilter>) => {
          const answer = await query(filter(asked), undefined)
          return answer.ok && answer.value.entries.map(({ index }) => index)
        }
        expect(await indexes({ from: at(10), to: at(20) })).toEqual([3, 4, 5])
        expect(await indexes({ from: at(1), to: at(10) })).toEqual([])
        expect(await indexes({ from: at(9), to: at(11) })).toEqual([3, 4, 5])
        expect(await indexes({ from: at(21), order: 'desc' })).toEqual([11, 10, 9])
        expect(await indexes({ to: at(1) })).toEqual([0, 1, 2])
        expect(await indexes({ from: at(20), to: at(10) })).toEqual([])
        for (const [ms, first] of [
          [-1, 0],
          [0, 0],
          [1, 3],
          [30, 9],
          [31, 12],
        ] as const) {
          expect(await firstNotBefore(ledger, at(ms), 12)).toBe(first)
        }
      },
      { now: () => now },
    )
  })

  test('of an owner gives entries of the own teams alone, whatever is asked for', () =>
    withRecord(async (record) => {
      await appendAll(record.ledger, mixed(600))
      await appendAll(record.ledger, [numberedEntry(1)])
      const query = createQueries(record.ledger, record.search)
      const owners = async (asked: Partial<EntryFilter>, teams: readonly string[]) => {
        const answer = await query(filter({ limit: 1000, ...asked }), teams)
        return answer.ok && new Set(answer.value.entries.map(({ entry }) => entry.owner))
      }
      expect(await owners({}, ['team0', 'team1'])).toEqual(new Set(['team0', 'team1']))
      expect(await owners({ owner: 'team1' }, ['team0', 'team1'])).toEqual(new Set(['team1']))
      expect(await owners({ owner: 'team2' }, ['team0', 'team1'])).toEqual(new Set())
      expect(await owners({}, [])).toEqual(new Set())
    }))

  test('does not show what was changed on the disk: it fails', () =>
    withRecord(async ({ dir, ledger, search }) => {
      await appendAll(
        ledger,
        [...Array(300).keys()].map((n) => ({ ...numberedEntry(n), workload: 'checkout' })),
      )
      const path = join(dir, 'tile/entries/000')
      const bytes = await readFile(path)
      bytes[bytes.indexOf('"n17"') + 2] = 0x39
      await writeFile(path, bytes)
      const query = createQueries(ledger, search)
      await expect(query(filter({ workload: 'checkout' }), undefined)).rejects.toMatchObject({
        code: 'ledger_unavailable',
      })
      const later = await query(filter({ workload: 'checkout', after: 255 }), undefined)
      expect(later.ok && later.value.entries).toHaveLength(44)
      await writeFile(path, bytes.subarray(0, -1))
      await expect(query(filter(), undefined)).rejects.toMatchObject({ code: 'ledger_unavailable' })
    }))
})

test('queries that read the whole record do not pile up: a few at once, the rest are told to come back', () =>
  withRecord(async ({ ledger, search }) => {
    await appendAll(ledger, [0, 1, 2, 3, 4].map(numberedEntry))
    let reading = 0
    let most = 0
    const watched: typeof search = async (asked) => {
      most = Math.max(most, ++reading)
      return search(asked).finally(() => reading--)
    }
    const query = createQueries(ledger, watched)
    const answers = await Promise.all(Array.from({ length: 100 }, () => query(filter(), undefined)))
    expect(answers.filter(({ ok }) => ok).length).toBeGreaterThan(0)
    expect(most).toBeLessThanOrEqual(8)
    for (const answer of answers) {
      if (answer.ok) expect(answer.value.entries).toHaveLength(5)
      else expect(answer.refusal).toMatchObject({ code: 'draining', retryAfterSeconds: 1 })
    }
    // A place comes back, also when reading fails.
    for (let i = 0; i < 20; i++) expect((await query(filter({ limit: 1 }), undefined)).ok).toBe(true)
    const broken = createQueries(ledger, () => Promise.reject(new Error('a bad disk')))
    for (let i = 0; i < 20; i++) await expect(broken(filter(), undefined)).rejects.toThrow('a bad disk')
  }))
