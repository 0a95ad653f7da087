import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BrokerFault } from '../../src/base/errors.ts'
import { replay } from '../../src/grants/replay.ts'
import type { NewTask, Task } from '../../src/grants/tasks.ts'
import type { EntryBody } from '../../src/ledger/entry.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { access, by, grantsStage } from '../support/grants.ts'
import { collect, ledgerInFolder } from '../support/ledger.ts'

let clock: FakeClock
let ledger: FileLedger
let stage: ReturnType<typeof grantsStage>
let leave: () => Promise<void>
beforeEach(async () => {
  clock = fakeClock()
  const opened = await ledgerInFolder({ clock })
  ledger = opened.ledger
  leave = opened.close
  stage = grantsStage(ledger, clock)
})
afterEach(() => leave())

const work = (over: Partial<NewTask> = {}): NewTask => ({
  workload: 'checkout',
  owner: 'payments',
  purpose: 'read-orders',
  environment: 'prod',
  intent: 'i',
  expiresAtMs: clock.now() + 3_600_000,
  ...over,
})
const runOf = (run: string, over: Partial<NewTask> = {}) => ({ ...work(over), run })
async function opened(task: NewTask): Promise<Task> {
  const result = await stage.tasks.open(task, by)
  if (!result.ok) throw new Error(result.refusal.code)
  return result.value
}
const entries = async (kind: EntryBody['kind']) =>
  (await collect(ledger.read(0))).map(({ entry }) => entry).filter((entry) => entry.kind === kind)

test('a crash between the end of a task and that of its grants is made good at the next start', async () => {
  const task = await opened(work())
  const { grant } = await stage.issue({ task: task.id })
  const other = await stage.issue()
  // What stands in the record when the broker dies right after the first entry of the end.
  await ledger.append({ ...by, kind: 'task.ended', task: task.id, cause: 'holder', grants: 1 })
  const { engine, script } = stage
  const next = grantsStage(ledger, clock, { engine, script })
  await replay({ ...next, entries: ledger.read(0), clock })
  await next.sweep.once()
  expect(await next.registry.get(grant.id)).toMatchObject({ status: 'ended', cause: 'task_ended', outcome: 'revoked' })
  expect(await next.registry.get(other.grant.id)).toMatchObject({ status: 'active' })
  expect(script.leases.size).toBe(1)
})

test('a grant that is minted while its task ends does not outlive it', async () => {
  const task = await opened(work())
  const minting = await stage.intend({ task: task.id })
  const answer = Promise.withResolvers<void>()
  stage.script.beforeAnswer = () => answer.promise
  const mint = stage.mint(minting)
  let over = false
  const ending = stage.tasks.end(task, { cause: 'holder', by }).finally(() => {
    over = true
  })
  answer.resolve()
  expect((await mint).grant.status).toMatch(/^(active|ending)$/)
  while (!over) await clock.advance(50)
  const ended = await ending
  expect(ended).toMatchObject([{ grant: minting.id, outcome: 'revoked' }])
  expect(stage.script.leases.size).toBe(0)
})

test('one dead task does not keep the others waiting, and a grant that Vault keeps does not keep the rest', async () => {
  const tasks = await Promise.all([1, 2, 3].map(() => opened(work({ heartbeatSeconds: 30 }))))
  for (const { id } of tasks) await stage.issue({ task: id })
  stage.script.revokeFaults = [new BrokerFault('engine_refused', 'no')]
  await clock.advance(30_000)
  let over = false
  const round = stage.sweep.once().finally(() => {
    over = true
  })
  while (!over) await clock.advance(50)
  await round
  expect((await entries('task.ended')).map((entry) => Reflect.get(entry, 'cause'))).toEqual([
    'heartbeat',
    'heartbeat',
    'heartbeat',
  ])
  await clock.advance(2_000)
  await stage.sweep.once()
  expect(stage.script.leases.size).toBe(0)
})

test('a heartbeat that comes between the look at the clock and the end saves the task', async () => {
  const task = await opened(work({ heartbeatSeconds: 30 }))
  await clock.advance(29_999)
  expect(await stage.tasks.hear(task.id)).toMatchObject({ ok: true })
  await clock.advance(1)
  await stage.tasks.endDue(100)
  expect(await stage.tasks.get(task.id)).toMatchObject({ status: 'open' })
  await clock.advance(29_999)
  // Overdue binds at once, not at the next round of the sweep.
  expect(await stage.tasks.stillOpen(task.id)).toBe(false)
  expect(await stage.tasks.hear(task.id)).toMatchObject({ ok: false, refusal: { code: 'state_conflict' } })
  await stage.tasks.endDue(100)
  expect(await entries('task.ended')).toMatchObject([{ cause: 'heartbeat', actor: { reason: 'heartbeat' } }])
})

test('heartbeats leave nothing in the record', async () => {
  const task = await opened(work({ heartbeatSeconds: 30 }))
  for (let i = 0; i < 100; i++) {
    await clock.advance(10_000)
    await stage.tasks.hear(task.id)
  }
  expect((await collect(ledger.read(0))).map(({ entry }) => entry.kind)).toEqual(['task.opened'])
})

test('the deadline of a task ends it as such, heartbeats or none', async () => {
  const task = await opened(work({ heartbeatSeconds: 30, expiresAtMs: clock.now() + 45_000 }))
  await clock.advance(20_000)
  await stage.tasks.hear(task.id)
  await clock.advance(25_000)
  await stage.tasks.endDue(100)
  expect(await entries('task.ended')).toMatchObject([{ cause: 'deadline', task: task.id }])
})

test('all who ask for a run at once share one task, and of two runs each has its own', async () => {
  const shared = await Promise.all(Array.from({ length: 20 }, () => stage.tasks.openRun(runOf('job/1'), by)))
  const other = await stage.tasks.openRun(runOf('job/2'), by)
  const elsewhere = await stage.tasks.openRun(runOf('job/1', { purpose: 'serve-tls' }), by)
  const ids = shared.map((result) => result.ok && result.value.id)
  expect(new Set(ids).size).toBe(1)
  expect(new Set([ids[0], other.ok && other.value.id, elsewhere.ok && elsewhere.value.id]).size).toBe(3)
  expect(await entries('task.opened')).toHaveLength(3)
})

test('nobody shares a task whose opening could not be recorded', async () => {
  const failing = stage.tasks.openRun(runOf('job/1'), by)
  const closing = ledger.close()
  const waiting = stage.tasks.openRun(runOf('job/1'), by)
  const results = await Promise.allSettled([failing, waiting])
  await closing
  for (const result of results) {
    // What was on its way when the ledger closed may have made it.
    if (result.status === 'fulfilled') expect(await stage.tasks.ofRun('checkout', 'read-orders', 'job/1')).toBeDefined()
  }
})

test('a run whose task is overdue gets another, and what hung on the old one is ended', async () => {
  const first = await stage.tasks.openRun(runOf('job/1', { expiresAtMs: clock.now() + 1_000 }), by)
  if (!first.ok) throw new Error(first.refusal.code)
  await stage.issue({ task: first.value.id })
  await clock.advance(1_000)
  const second = await stage.tasks.openRun(runOf('job/1'), by)
  expect(second.ok && second.value.id).not.toBe(first.value.id)
  expect(second).toMatchObject({ ok: true, value: { granted: 1 } })
  expect(stage.script.leases.size).toBe(0)
  expect(await entries('task.ended')).toMatchObject([{ task: first.value.id, cause: 'deadline' }])
})

test('whatever comes at once, a task never takes more than it may, nor holds more at a time', async () => {
  const step = fc.record({ ask: fc.integer({ min: 1, max: 6 }), end: fc.integer({ min: 0, max: 4 }) })
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 8 }),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 4 }),
      async (steps, most, active) => {
        const task = await opened(work())
        let taken = 0
        for (const { ask, end } of steps) {
          await Promise.all(
            Array.from({ length: ask }, async () => {
              const counted = await stage.tasks.count(task.id, most)
              if (!counted.ok) return
              // As the broker does: what finds no place is taken back.
              const placed = await stage
                .issue({ task: task.id, limits: { ...access.limits, taskActive: active } })
                .then(
                  () => true,
                  () => false,
                )
              await stage.tasks.uncount(task.id)
              if (placed) taken++
            }),
          )
          expect(await stage.registry.liveOfTask(task.id)).toBeLessThanOrEqual(active)
          expect((await stage.tasks.get(task.id))?.granted).toBeGreaterThanOrEqual(taken)
          for (const grant of await stage.registry.find([`task=${task.id}`, 'live'], { limit: end })) {
            await stage.ender.end(grant, { cause: 'revoked', by })
          }
        }
        for (const grant of await stage.registry.find([`task=${task.id}`, 'live'], { limit: 100 })) {
          await stage.ender.end(grant, { cause: 'revoked', by })
        }
        await stage.tasks.end(task, { cause: 'holder', by })
      },
    ),
    { numRuns: 40 },
  )
})
