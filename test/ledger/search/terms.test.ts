import fc from 'fast-check'
import { expect, test } from 'vitest'
import { canonicalJson } from '../../../src/ledger/canonical.ts'
import type { Entry } from '../../../src/ledger/entry.ts'
import { eachTermHash, meets, needleOf, termHash, termNames } from '../../../src/ledger/search/terms.ts'
import { endedEntry, intentEntry, issuedEntry } from '../../support/entries.ts'

const entryOf = (body: object): Entry => ({ ...body, v: 1, time: '2026-11-22T12:00:00.000Z' }) as Entry
const issued = entryOf({ ...issuedEntry(7), task: 'tsk_1', approval: 'ap_1', request: 'rq_1', token: 'b'.repeat(64) })

test.each([
  ['kind', 'grant.issued'],
  ['workload', 'checkout'],
  ['owner', 'payments'],
  ['purpose', 'read-orders'],
  ['environment', 'prod'],
  ['credential', 'orders-ro'],
  ['grant', issuedEntry(7).grant],
  ['task', 'tsk_1'],
  ['approval', 'ap_1'],
  ['policy', 'a'.repeat(64)],
  ['request', 'rq_1'],
  ['token', 'b'.repeat(64)],
  ['id', 'v-checkout-7'],
  ['id', 'c'.repeat(64)],
] as const)('an entry is found by its %s', (name, value = '') => {
  expect(meets(issued, [{ name, anyOf: ['other', value] }])).toBe(true)
  expect(meets(issued, [{ name, anyOf: [`${value}x`] }])).toBe(false)
  expect(meets(issued, [{ name, anyOf: [] }])).toBe(false)
})

test('an entry is found by the subject of its actor, its code, and the lease of an orphan', () => {
  const subject = 'system:serviceaccount:orders:checkout'
  expect(meets(entryOf(intentEntry(1)), [{ name: 'subject', anyOf: [subject] }])).toBe(true)
  const failed = entryOf({ ...endedEntry(1), kind: 'grant.failed', code: 'engine_refused' })
  expect(meets(failed, [{ name: 'code', anyOf: ['engine_refused'] }])).toBe(true)
  const orphan = entryOf({ ...endedEntry(1), lease_hash: 'd'.repeat(64) })
  expect(meets(orphan, [{ name: 'id', anyOf: ['d'.repeat(64)] }])).toBe(true)
})

test('all conditions must be met', () => {
  const conditions = [{ name: 'workload', anyOf: ['checkout'] } as const, { name: 'owner', anyOf: ['sre'] } as const]
  expect(meets(issued, conditions.slice(0, 1))).toBe(true)
  expect(meets(issued, conditions)).toBe(false)
})

test('whatever an entry is found by, its hash is among those of the entry and its needle among the bytes', () => {
  const text = fc.string({ unit: 'binary', maxLength: 40 })
  const body = fc.record({
    kind: fc.constant('grant.issued'),
    actor: fc.record({ type: fc.constant('workload'), name: text, issuer: text, subject: text }),
    workload: text,
    request: text,
    ids: fc.array(fc.record({ type: fc.constant('database_user'), value: text }), { maxLength: 8 }),
    lease: fc.record({ hash: text, sealed: text }),
    lease_hash: text,
  })
  fc.assert(
    fc.property(body, fc.constantFrom(...termNames), text, (entry, name, other) => {
      const bytes = Buffer.from(canonicalJson(entry))
      const hashes = new Set<number>()
      eachTermHash(entry, (hash) => hashes.add(hash))
      const values = [
        other,
        entry.workload,
        entry.actor.subject,
        entry.lease_hash,
        ...entry.ids.map(({ value }) => value),
      ]
      for (const value of values.filter((one) => meets(entry, [{ name, anyOf: [one] }]))) {
        expect(hashes).toContain(termHash(name, value))
        expect(bytes.includes(needleOf(name, value))).toBe(true)
      }
    }),
  )
})

test('an entry that nobody has checked has no terms where its fields are of the wrong type, and does not fail', () => {
  for (const odd of [
    {},
    { actor: null, ids: {}, lease: 5 },
    { ids: [null, 'x', { value: 1 }], actor: 'x', kind: [] },
  ]) {
    eachTermHash(odd, () => expect.unreachable())
  }
})
