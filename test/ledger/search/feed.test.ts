import { describe, expect, test } from 'vitest'
import type { StoredEntry } from '../../../src/ledger/ledger.ts'
import { createFeeds, type Following } from '../../../src/ledger/search/feed.ts'
import { numberedEntry } from '../../support/entries.ts'
import { appendAll, withRecord } from '../../support/record.ts'

const all = () => []
const owned = (n: number) => ({ ...numberedEntry(n), owner: n % 3 === 0 ? 'payments' : 'sre' })
const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)

/** Reads entries of a feed until it has `count`, taking a turn of the loop between batches. */
async function take(feed: AsyncIterator<readonly StoredEntry[]>, count: number): Promise<number[]> {
  const taken: number[] = []
  while (taken.length < count) {
    const next = await feed.next()
    if (next.done === true) throw new Error(`the feed ended after ${taken.length}`)
    taken.push(...next.value.map(({ index }) => index))
    await new Promise((resolve) => setImmediate(resolve))
  }
  return taken
}

const following = (over: Partial<Following> = {}): Following => ({
  from: 0,
  conditions: all,
  ended: new AbortController().signal,
  ...over,
})

describe('a feed', () => {
  test('gives what is on record and then what is appended, without gap or repetition, to many readers at once', () =>
    withRecord(async ({ ledger, search }) => {
      await appendAll(ledger, numbers(0, 900).map(numberedEntry))
      const follow = createFeeds(ledger, search)
      const starts = [0, 1, 255, 256, 899, 900, 1_000]
      const readers = starts.map((from) => take(follow(following({ from })), 3_000 - from))
      await appendAll(ledger, numbers(900, 3_000).map(numberedEntry))
      for (const [i, from] of starts.entries()) expect(await readers[i]).toEqual(numbers(from, 3_000))
    }))

  test('keeps nothing for a reader who stops: it reads on where it was, however much was appended', () =>
    withRecord(async ({ ledger, search }) => {
      const follow = createFeeds(ledger, search)
      const slow = follow(following())
      const first = slow.next()
      await appendAll(ledger, numbers(0, 5_000).map(numberedEntry))
      const begun = (await first).value?.map(({ index }) => index) ?? []
      expect(begun.length).toBeLessThanOrEqual(64)
      expect([...begun, ...(await take(slow, 5_000 - begun.length))]).toEqual(numbers(0, 5_000))
    }))

  test('gives what meets the conditions alone, past and present', () =>
    withRecord(async ({ ledger, search }) => {
      await appendAll(ledger, numbers(0, 600).map(owned))
      const follow = createFeeds(ledger, search)
      const reading = take(follow(following({ conditions: () => [{ name: 'owner', anyOf: ['payments'] }] })), 400)
      await appendAll(ledger, numbers(600, 1_200).map(owned))
      expect(await reading).toEqual(numbers(0, 400).map((n) => n * 3))
    }))

  test('asks before each batch what may be seen, and ends when that is nothing', () =>
    withRecord(async ({ ledger, search }) => {
      const follow = createFeeds(ledger, search)
      let teams: readonly string[] | undefined = ['payments']
      const feed = follow(following({ conditions: () => teams && [{ name: 'owner', anyOf: teams }] }))
      const next = (n: number) => Promise.all([feed.next(), ledger.append(owned(n))])
      expect((await next(0))[0].value?.map(({ entry }) => entry.owner)).toEqual(['payments'])
      teams = ['sre']
      expect((await next(1))[0].value?.map(({ entry }) => entry.owner)).toEqual(['sre'])
      teams = undefined
      expect((await next(2))[0].done).toBe(true)
    }))

  test('ends when it is told to, also while it waits, and then listens no more', () =>
    withRecord(async ({ ledger, search }) => {
      let listening = 0
      const subscribe: typeof ledger.subscribe = (listener) => {
        listening++
        const stop = ledger.subscribe(listener)
        return () => {
          listening--
          stop()
        }
      }
      const follow = createFeeds({ ...ledger, subscribe }, search)
      const stops = [new AbortController(), new AbortController()]
      const waiting = stops.map(({ signal }) => follow(following({ ended: signal })).next())
      expect(listening).toBe(1)
      for (const stop of stops) stop.abort()
      for (const next of waiting) expect((await next).done).toBe(true)
      expect(listening).toBe(0)
      const early = follow(following({ ended: AbortSignal.abort() }))
      expect((await early.next()).done).toBe(true)
      // One that is put down between two batches.
      const feed = follow(following())
      await appendAll(ledger, [numberedEntry(0)])
      await feed.next()
      await feed.return()
      expect(listening).toBe(0)
    }))

  test('ends with the fault when the record cannot be read, and so do not the others', () =>
    withRecord(async ({ ledger, search }) => {
      await appendAll(ledger, [numberedEntry(0)])
      let failures = 1
      const follow = createFeeds(ledger, (asked) => (failures-- > 0 ? Promise.reject(new Error('EIO')) : search(asked)))
      const [bad, good] = [follow(following()).next(), take(follow(following()), 1)]
      await expect(bad).rejects.toThrow('EIO')
      expect(await good).toEqual([0])
    }))
})
