import { expect, test } from 'vitest'
import type { EntryBody } from '../../src/ledger/entry.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { createRefusals, type DeniedAbout } from '../../src/ledger/refusals.ts'
import { fakeClock } from '../support/clock.ts'

const refusal = { code: 'purpose_unknown', reasons: [{ rule: 'purpose', ok: false, detail: 'none' }] } as const
const workload = (name: string): DeniedAbout => ({
  actor: { type: 'workload', name, issuer: 'cluster-eu', subject: `system:serviceaccount:orders:${name}` },
})

function book() {
  const kept: EntryBody[] = []
  const ledger = {
    async append(body: EntryBody) {
      kept.push(body)
      return { index: kept.length, leafHash: '' }
    },
  } as Ledger
  const clock = fakeClock()
  return { kept, clock, refusals: createRefusals({ ledger, clock }) }
}

const standsFor = (kept: readonly EntryBody[]): number =>
  kept.reduce((sum, entry) => sum + 1 + (entry.kind === 'request.denied' ? (entry.suppressed ?? 0) : 0), 0)

test('one valid token cannot fill the disk with its own refusals, and not one of them goes uncounted', async () => {
  const { kept, clock, refusals } = book()
  for (let second = 0; second < 3; second++) {
    for (let i = 0; i < 2_000; i++) await refusals.record(workload('checkout'), refusal)
    await clock.advance(1_000)
  }
  await refusals.record(workload('checkout'), refusal)
  expect(kept.length).toBeLessThanOrEqual(3 * 50 + 1)
  expect(standsFor(kept)).toBe(6_001)
})

test('what one caller floods hides nothing of another, proved or not', async () => {
  const { kept, refusals } = book()
  for (let i = 0; i < 2_000; i++) await refusals.record(workload('checkout'), refusal)
  for (let i = 0; i < 2_000; i++) await refusals.record({ actor: { type: 'unproved' } }, refusal)
  const before = kept.length
  await refusals.record(workload('nightly-report'), refusal)
  const person: DeniedAbout = { actor: { type: 'person', issuer: 'people', subject: 'alice@payments', teams: [] } }
  await refusals.record(person, refusal)
  expect(kept.slice(before).map(({ actor }) => actor.type)).toEqual(['workload', 'person'])
  // Nor does anybody's entry stand for the refusals of somebody else.
  expect(kept.slice(before).map((entry) => entry.kind === 'request.denied' && entry.suppressed)).toEqual([
    undefined,
    undefined,
  ])
})
