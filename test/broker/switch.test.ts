import { afterAll, beforeAll, expect, test } from 'vitest'
import { startWorld, type World } from '../support/broker.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

const dry = async (as: string, match: object) => {
  const { status, body } = await world.api('POST', '/v1/revocations', {
    as,
    body: { match, reason: 'curious', dry_run: true },
  })
  return { status, code: body.code, matched: body.matched }
}

test('the switch does not tell a curious team whether others hold credentials now', async () => {
  const opened = await world.api('POST', '/v1/tasks', {
    as: 'coding-agent',
    body: { purpose: 'fix-bug', intent: 'a look' },
  })
  const matches = [
    { workload: 'checkout' },
    { purpose: 'read-orders' },
    { credential: 'orders-ro' },
    { owner: 'payments' },
    { task: opened.body.task },
  ]
  const idle = []
  for (const match of matches) idle.push(await dry('erin@sre', match))
  expect((await world.issue('checkout', { purpose: 'read-orders' })).status).toBe(201)
  const { status } = await world.issue('coding-agent', { purpose: 'fix-bug', task: opened.body.task })
  expect(status).toBe(201)
  const busy = []
  for (const match of matches) busy.push(await dry('erin@sre', match))
  expect(busy).toEqual(idle)
  expect(new Set(busy.map(({ code }) => code))).toEqual(new Set(['role_required']))
  const unheardOf = [{ workload: 'no-such' }, { task: 'tsk_00000000000000000000000000' }]
  for (const match of unheardOf) expect(await dry('erin@sre', match)).toEqual(busy[0])
})

test('an owner is told that nothing of theirs is alive, and not that they may not ask', async () => {
  for (const match of [{ workload: 'order-repair' }, { purpose: 'break-fix' }, { credential: 'orders-rw' }]) {
    expect(await dry('alice@payments', match)).toEqual({ status: 200, code: undefined, matched: 0 })
  }
  expect(await dry('carol@platform', { owner: 'platform' })).toMatchObject({ status: 200 })
  expect(await dry('dana@security', { workload: 'no-such' })).toMatchObject({ status: 200, matched: 0 })
})

test('only the holder says that a task is alive', async () => {
  const { body } = await world.api('POST', '/v1/tasks', {
    as: 'coding-agent',
    body: { purpose: 'fix-bug', intent: 'a look' },
  })
  const beat = async (as: string) => (await world.api('POST', `/v1/tasks/${body.task}/heartbeat`, { as })).status
  expect(await beat('coding-agent')).toBe(200)
  for (const as of ['alice@payments', 'dana@security']) expect(await beat(as), as).toBe(403)
  expect(await beat('checkout')).toBe(404)
})
