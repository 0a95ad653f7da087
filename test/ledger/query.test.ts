import { expect, test } from 'vitest'
import { entryFilterSchema } from '../../src/contract/ledger.ts'
import type { Ledger, StoredEntry } from '../../src/ledger/ledger.ts'
import { createQueries } from '../../src/ledger/query.ts'
import { collect, openTestLedger, withFolder } from '../support/ledger.ts'

const filter = (query: object = {}) => entryFilterSchema.parse(query)

test('queries that read the whole record do not pile up: a few at once, the rest are told to come back', async () => {
  await withFolder(async (dir) => {
    const ledger = await openTestLedger(dir)
    const actor = { type: 'broker', reason: 'test' } as const
    for (let i = 0; i < 5; i++) await ledger.append({ kind: 'broker.started', actor, version: `${i}` })
    let reading = 0
    let most = 0
    const watched: Ledger = {
      ...ledger,
      async *read(from): AsyncIterable<StoredEntry> {
        most = Math.max(most, ++reading)
        try {
          yield* ledger.read(from)
        } finally {
          reading--
        }
      },
    }
    const query = createQueries(watched)
    const answers = await Promise.all(Array.from({ length: 100 }, () => query(filter(), () => true)))
    const given = answers.filter(({ ok }) => ok)
    expect(given.length).toBeGreaterThan(0)
    expect(most).toBeLessThanOrEqual(8)
    for (const answer of answers) {
      if (answer.ok) expect(answer.value.entries).toHaveLength(5)
      else expect(answer.refusal).toMatchObject({ code: 'draining', retryAfterSeconds: 1 })
    }
    // A place comes back, also when nobody reads to the end, and when reading fails.
    for (let i = 0; i < 20; i++) expect((await query(filter({ limit: 1 }), () => true)).ok).toBe(true)
    const broken = createQueries({
      ...ledger,
      async *read() {
        yield* await collect(ledger.read(0))
        throw new Error('a bad disk')
      },
    })
    for (let i = 0; i < 20; i++) await expect(broken(filter(), () => true)).rejects.toThrow('a bad disk')
    expect(reading).toBe(0)
    await ledger.close()
  })
})
