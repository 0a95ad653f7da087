import { afterAll, beforeAll, expect, test } from 'vitest'
import { endedTaskSchema, taskSchema } from '../../src/contract/task.ts'
import { startWorld, type World } from '../support/broker.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

const openTask = async (purpose = 'fix-bug'): Promise<string> => {
  const { status, body } = await world.api('POST', '/v1/tasks', {
    as: 'coding-agent',
    body: { purpose, intent: 'Reproduce the rounding error', ttl: '30m' },
  })
  expect(status).toBe(201)
  expect(taskSchema.strict().safeParse(body).error).toBeUndefined()
  return body.task
}

test('every credential of a task dies with it, and the answer says how long each took', async () => {
  const task = await openTask()
  const requests = [1, 2].map(() => world.issue('coding-agent', { purpose: 'fix-bug', task }))
  const [first, second] = await Promise.all(requests)
  expect([first?.status, second?.status]).toEqual([201, 201])
  expect(first?.body).toMatchObject({ task, credential: 'orders-rw-staging', environment: 'staging' })
  expect(await world.login(first?.body.secret)).toBe('in')

  const ended = await world.api('POST', `/v1/tasks/${task}/end`, { as: 'coding-agent', body: { outcome: 'fixed' } })
  expect(ended.status).toBe(200)
  expect(endedTaskSchema.strict().safeParse(ended.body).error).toBeUndefined()
  const grants = [first?.body.grant, second?.body.grant].sort()
  expect(ended.body.grants.map(({ grant }) => grant).sort()).toEqual(grants)
  expect(ended.body.grants.every(({ outcome }) => outcome === 'revoked')).toBe(true)
  for (const answer of [first, second]) expect(await world.login(answer?.body.secret)).toMatch(/^28/)

  const seen = await world.api('GET', `/v1/tasks/${task}`, { as: 'coding-agent' })
  expect(seen.body).toMatchObject({ status: 'ended', intent: 'Reproduce the rounding error' })
  const story = (await world.entries({ task })).map(({ kind }) => kind)
  expect(story[0]).toBe('task.opened')
  expect(story.filter((kind) => kind === 'task.ended')).toHaveLength(1)
  expect(story.filter((kind) => kind === 'grant.ended')).toHaveLength(2)
})

test('ending a task twice changes nothing and loses nothing', async () => {
  const task = await openTask()
  const { body } = await world.issue('coding-agent', { purpose: 'fix-bug', task })
  const [one, two] = await Promise.all(
    [1, 2].map(() => world.api('POST', `/v1/tasks/${task}/end`, { as: 'coding-agent' })),
  )
  expect([one?.status, two?.status]).toEqual([200, 200])
  const third = await world.api('POST', `/v1/tasks/${task}/end`, { as: 'coding-agent' })
  expect([200, 409]).toContain(third.status)
  const entries = await world.entries({ task })
  expect(entries.filter(({ kind }) => kind === 'task.ended')).toHaveLength(1)
  expect(entries.filter(({ kind, grant }) => kind === 'grant.ended' && grant === body.grant)).toHaveLength(1)
})

test('an ended task gives nothing more and takes no heartbeat', async () => {
  const task = await openTask()
  const alive = await world.api('POST', `/v1/tasks/${task}/heartbeat`, { as: 'coding-agent' })
  expect(alive).toMatchObject({ status: 200, body: { task, status: 'open' } })
  await world.api('POST', `/v1/tasks/${task}/end`, { as: 'coding-agent' })
  const more = await world.issue('coding-agent', { purpose: 'fix-bug', task })
  expect(more).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
  const late = await world.api('POST', `/v1/tasks/${task}/heartbeat`, { as: 'coding-agent' })
  expect(late).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
})

test('without a task an agent gets nothing, and a task of another purpose does not help', async () => {
  const none = await world.issue('coding-agent', { purpose: 'fix-bug' })
  expect(none).toMatchObject({ status: 403, body: { code: 'task_required', reasons: ['purpose.task'] } })
  const task = await openTask('fix-bug')
  const other = await world.issue('coding-agent', { purpose: 'investigate', task, reason: 'a complaint' })
  expect(other).toMatchObject({ status: 403, body: { code: 'condition_failed', reasons: ['task.purpose'] } })
})

test("a task is its holder's: to another workload it is not there, its owner may end it", async () => {
  const task = await openTask()
  const { body } = await world.issue('coding-agent', { purpose: 'fix-bug', task })
  expect((await world.api('GET', `/v1/tasks/${task}`, { as: 'checkout' })).status).toBe(404)
  expect((await world.api('POST', `/v1/tasks/${task}/end`, { as: 'checkout' })).status).toBe(404)
  expect((await world.api('POST', `/v1/tasks/${task}/end`, { as: 'carol@platform' })).status).toBe(404)
  const stolen = await world.issue('checkout-staging', { purpose: 'try-changes', task })
  expect(stolen).toMatchObject({ status: 404, body: { code: 'not_found' } })
  const ended = await world.api('POST', `/v1/tasks/${task}/end`, { as: 'alice@payments' })
  expect(ended.body.grants).toMatchObject([{ grant: body.grant, outcome: 'revoked' }])
  expect(await world.login(body.secret)).toMatch(/^28/)
  const entries = await world.entries({ task, kind: 'task.ended' })
  expect(entries).toMatchObject([{ cause: 'revoked', actor: { type: 'person', subject: 'alice@payments' } }])
})

test('a credential never outlives its task', async () => {
  const { body: opened } = await world.api('POST', '/v1/tasks', {
    as: 'coding-agent',
    body: { purpose: 'fix-bug', intent: 'a short look', ttl: '2m' },
  })
  const { body } = await world.issue('coding-agent', { purpose: 'fix-bug', task: opened.task, ttl: '1h' })
  expect(Date.parse(body.expires_at)).toBeLessThanOrEqual(Date.parse(opened.expires_at))
  expect(body.ttl_capped_by).toContain('task')
  await world.api('POST', `/v1/tasks/${opened.task}/end`, { as: 'coding-agent' })
})

test('a task that ends while its credential is minted takes that credential with it', async () => {
  const task = await openTask()
  const token = await world.token('coding-agent')
  const minting = world.api('POST', '/v1/credentials', { token, body: { purpose: 'fix-bug', task } })
  const ending = world.api('POST', `/v1/tasks/${task}/end`, { as: 'coding-agent' })
  const [issued] = await Promise.all([minting, ending])
  // Whichever came first: nobody holds a login of an ended task.
  if (issued.status === 201) expect(await world.login(issued.body.secret)).toMatch(/^28/)
  else expect(issued).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
  expect(await world.leases('orders-rw-staging')).toEqual([])
  const live = await world.api('GET', `/v1/grants?task=${task}`, { as: 'coding-agent' })
  expect(live.body.grants).toEqual([])
})
