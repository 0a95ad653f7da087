import { expect, test } from 'vitest'
import { BrokerFault } from '../../src/base/errors.ts'
import type { EntryBody } from '../../src/ledger/entry.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { access, by, grantsStage } from '../support/grants.ts'

/** A ledger that keeps what it is given; the file ledger would make these thousands of entries wait for the disk. */
function bookOf(kept: EntryBody[], refuse: () => boolean = () => false): Ledger {
  return {
    async append(body) {
      if (refuse()) throw new BrokerFault('ledger_unavailable', 'full')
      kept.push(body)
      return { index: kept.length - 1, leafHash: '0'.repeat(64) }
    },
  } as Ledger
}

const task = (clock: FakeClock, workload = 'checkout') => ({
  workload,
  owner: 'payments',
  purpose: 'read-orders',
  environment: 'prod',
  intent: 'i',
  expiresAtMs: clock.now() + 3_600_000,
})
const question = (number: number) => ({
  level: 'owner' as const,
  approvers: ['payments'],
  digest: number.toString(16).padStart(64, '0'),
  requester: 'cluster-eu/checkout',
  reason: '',
  by,
})

test('a workload cannot fill the broker with tasks: they are bounded at once and by the minute, for it alone', async () => {
  const clock = fakeClock()
  const kept: EntryBody[] = []
  const stage = grantsStage(bookOf(kept), clock)
  let opened = 0
  for (let minute = 0; minute < 30; minute++) {
    for (let i = 0; i < 1_000; i++) if ((await stage.tasks.open(task(clock), by)).ok) opened++
    await clock.advance(60_000)
  }
  expect(opened).toBeGreaterThanOrEqual(1_000)
  expect(opened).toBeLessThanOrEqual(10_000)
  expect(kept).toHaveLength(opened)
  expect(await stage.tasks.open(task(clock), by)).toMatchObject({ ok: false, refusal: { code: 'limit_reached' } })
  expect(await stage.tasks.open(task(clock, 'other'), by)).toMatchObject({ ok: true })
})

test('opening and ending tasks in a circle is bounded by the minute, and what has ended is forgotten in an hour', async () => {
  const clock = fakeClock()
  const stage = grantsStage(bookOf([]), clock)
  const ids: string[] = []
  for (let i = 0; i < 2_000; i++) {
    const opened = await stage.tasks.open(task(clock), by)
    if (!opened.ok) continue
    ids.push(opened.value.id)
    await stage.tasks.end(opened.value, { cause: 'holder', by })
  }
  expect(ids.length).toBeLessThanOrEqual(600)
  await clock.advance(3_600_000)
  for (const id of ids) expect(await stage.tasks.get(id)).toBeUndefined()
})

test('what could not be recorded takes no place', async () => {
  const clock = fakeClock()
  let broken = true
  const stage = grantsStage(
    bookOf([], () => broken),
    clock,
  )
  await expect(stage.tasks.open(task(clock), by)).rejects.toMatchObject({ code: 'ledger_unavailable' })
  for (let i = 0; i < 60; i++) {
    await expect(stage.approvals.ask([access], question(i))).rejects.toMatchObject({ code: 'ledger_unavailable' })
  }
  broken = false
  expect(await stage.state.count('task', 'open')).toBe(0)
  expect(await stage.approvals.pendingFor(['payments'])).toEqual([])
  expect(await stage.approvals.ask([access], question(99))).toMatchObject({ ok: true })
})

test('what waits for an answer is bounded for each workload, also when all is asked at once', async () => {
  const clock = fakeClock()
  const stage = grantsStage(bookOf([]), clock)
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => stage.approvals.ask([access], question(i))))
  expect(answers.filter(({ ok }) => ok)).toHaveLength(50)
  const other = await stage.approvals.ask([{ ...access, workload: 'other' }], question(1_000))
  expect(other).toMatchObject({ ok: true })
})
