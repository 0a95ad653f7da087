import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { taskSchema } from '../../src/contract/task.ts'
import { baoAvailable } from '../support/bao.ts'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'

const gitlabPipeline = `
kind: Issuer
name: gitlab
flavour: gitlab
url: https://gitlab.example.com
audience: https://writ.example.com
algorithms: [RS256]
keys: { discovery: true }
token: { max_age: 10m, max_life: 1h }
environment: staging
---
kind: Workload
name: shop-deploy-gitlab
type: pipeline
system: shop
owner: platform
backup: payments
custodian: platform
status: active
match: { issuer: gitlab, claims: { project_id: "22", ref_protected: "true" } }
purposes:
  - id: deploy
    because: Put every merged change on the staging hosts
    environment: staging
    credentials: [orders-rw-staging]
    ttl: { max: 1h }
`
const clock = shiftedClock()
let world: World
beforeAll(async () => {
  world = await startWorld({
    clock,
    async policies({ edit, write }) {
      await write('workloads/gitlab.yaml', gitlabPipeline)
      await edit('workloads/coding-agent.yaml', (text) =>
        text
          .replace('grants: 50', 'grants: 5')
          .replace('active: 3 # of one task at once', 'active: 2')
          .replace('limits: { active: 3, per_minute: 10 }', 'limits: { active: 50 }'),
      )
      await edit('workloads/shop-deploy.yaml', (text) => text.replace('active: 20, per_minute: 60', 'active: 50'))
      await edit('workloads/checkout-staging.yaml', (text) => text.replace('renewable: true', 'task: { derive: true }'))
    },
  })
})
afterAll(() => world?.stop())

const agent = 'coding-agent'
async function open(ttl = '30m', intent = 'Reproduce the rounding error') {
  const { status, body } = await world.api('POST', '/v1/tasks', {
    as: agent,
    body: { purpose: 'fix-bug', intent, ttl },
  })
  expect(status).toBe(201)
  expect(taskSchema.strict().safeParse(body).error).toBeUndefined()
  return body
}
const take = (task: string) => world.issue(agent, { purpose: 'fix-bug', task })
const beat = (task: string, as = agent) => world.api('POST', `/v1/tasks/${task}/heartbeat`, { as })
const seen = async (task: string) => (await world.api('GET', `/v1/tasks/${task}`, { as: agent })).body
const untilEnded = (task: string) =>
  eventually(async () => ((await seen(task)).status === 'ended' ? true : undefined), `${task} has ended`)

test('a task whose holder is not heard of ends, and its credentials with it; one that is heard of goes on', async () => {
  const [dead, alive] = [await open(), await open()]
  expect(dead.heartbeat_due_at).toBe(new Date(Date.parse(dead.opened_at) + 300_000).toISOString())
  const [held, kept] = [await take(dead.task), await take(alive.task)]
  expect([held.status, kept.status]).toEqual([201, 201])
  clock.shift(200_000)
  const heard = await beat(alive.task)
  expect(heard.status).toBe(200)
  expect(Date.parse(heard.body.heartbeat_due_at)).toBeGreaterThanOrEqual(Date.parse(alive.heartbeat_due_at) + 200_000)
  clock.shift(150_000)
  await untilEnded(dead.task)
  await eventually(async () => /^28/.test(await world.login(held.body.secret)) || undefined, 'the login is refused')
  expect(await world.login(kept.body.secret)).toBe('in')
  expect(await world.entries({ task: dead.task, kind: 'task.opened' })).toMatchObject([{ heartbeat: 300 }])
  expect(await world.entries({ task: dead.task, kind: 'task.ended' })).toMatchObject([
    { cause: 'heartbeat', actor: { type: 'broker', reason: 'heartbeat' }, grants: 1 },
  ])
  // A beat that comes too late wakes nothing.
  expect(await beat(dead.task)).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
  expect(await take(dead.task)).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
  await world.api('POST', `/v1/tasks/${alive.task}/end`, { as: agent })
})

test('a heartbeat is its holder’s: nobody else’s keeps a task alive, a worthless token’s neither', async () => {
  const { task, heartbeat_due_at } = await open()
  expect((await beat(task, 'checkout')).status).toBe(404)
  expect(await beat(task, 'alice@payments')).toMatchObject({ status: 403, body: { code: 'role_required' } })
  expect((await world.api('POST', `/v1/tasks/${task}/heartbeat`, { token: 'x' })).status).toBe(401)
  expect((await seen(task)).heartbeat_due_at).toBe(heartbeat_due_at)
  await world.api('POST', `/v1/tasks/${task}/end`, { as: agent })
})

test('what a task may hold at once and take in all is bounded, whoever asks at once, over a restart too', async () => {
  const { task } = await open()
  const atOnce = await Promise.all(Array.from({ length: 6 }, () => take(task)))
  const got = atOnce.filter(({ status }) => status === 201)
  expect(got).toHaveLength(2)
  for (const answer of atOnce.filter(({ status }) => status !== 201)) {
    expect(answer).toMatchObject({ status: 429, body: { code: 'limit_reached', reasons: ['task.active'] } })
  }
  for (const { body } of got) await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: agent })
  expect((await seen(task)).grants).toBe(2)
  for (let taken = 2; taken < 4; taken++) {
    const { status, body } = await take(task)
    expect(status).toBe(201)
    await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: agent })
  }
  await world.restart()
  expect(await seen(task)).toMatchObject({ status: 'open', grants: 4 })
  expect((await take(task)).status).toBe(201)
  const sixth = await take(task)
  expect(sixth).toMatchObject({ status: 429, body: { code: 'limit_reached', reasons: ['task.grants'] } })
  expect(
    (await world.entries({ task, kind: 'grant.intent' })).map((entry) => Reflect.get(entry, 'task_grant')),
  ).toEqual(expect.arrayContaining([1, 2, 3, 4, 5]))
  const { body } = await world.api('POST', `/v1/tasks/${task}/end`, { as: agent })
  expect(body.grants).toMatchObject([{ outcome: 'revoked' }])
})

test('a restart gives each open task one whole wait, neither more nor less', async () => {
  const { task } = await open()
  clock.shift(290_000)
  await world.stopBroker()
  clock.shift(60_000)
  await world.restart()
  expect((await seen(task)).status).toBe('open')
  clock.shift(290_000)
  expect((await beat(task)).status).toBe(200)
  clock.shift(301_000)
  await untilEnded(task)
})

test('the life of a task is bounded by its purpose, whatever is asked for', async () => {
  const { body } = await world.api('POST', '/v1/tasks', {
    as: agent,
    body: { purpose: 'fix-bug', intent: 'a long one', ttl: '20h' },
  })
  const lifeMs = Date.parse(body.expires_at) - Date.parse(body.opened_at)
  expect(lifeMs).toBeLessThanOrEqual(2 * 3600_000)
  expect(lifeMs).toBeGreaterThan(1.9 * 3600_000)
  await world.api('POST', `/v1/tasks/${body.task}/end`, { as: agent })
})

test('a workload that is suspended keeps no task alive', async () => {
  const { task } = await open()
  await world.policies.edit('workloads/coding-agent.yaml', (text) =>
    text.replace('status: active', 'status: suspended'),
  )
  await world.api('POST', '/v1/policies/reload', { as: 'dana@security' })
  expect(await beat(task)).toMatchObject({ status: 403, body: { code: 'workload_suspended' } })
  await world.policies.edit('workloads/coding-agent.yaml', (text) =>
    text.replace('status: suspended', 'status: active'),
  )
  await world.api('POST', '/v1/policies/reload', { as: 'dana@security' })
  await world.api('POST', `/v1/tasks/${task}/end`, { as: agent })
})

test('the switch ends the tasks of what it matches, with all they hold', async () => {
  const [one, two] = [await open(), await open()]
  const held = await take(one.task)
  const pull = (match: object) =>
    world.api('POST', '/v1/revocations', { as: 'dana@security', body: { match, reason: 'an incident' } })
  expect((await pull({ task: one.task })).body).toMatchObject({ matched: 1 })
  expect(await seen(one.task)).toMatchObject({ status: 'ended' })
  expect(await seen(two.task)).toMatchObject({ status: 'open' })
  expect(await take(one.task)).toMatchObject({ status: 409 })
  expect(await world.entries({ grant: held.body.grant, kind: 'grant.ended' })).toMatchObject([{ cause: 'kill_switch' }])
  await pull({ workload: agent })
  expect(await seen(two.task)).toMatchObject({ status: 'ended' })
  expect(await world.entries({ task: two.task, kind: 'task.ended' })).toMatchObject([
    { cause: 'revoked', actor: { type: 'person', subject: 'dana@security' } },
  ])
})

describe('a CI job is a task without asking', () => {
  const job = (run: string, attempt = '1') => ({ run_id: run, run_attempt: attempt, environment: 'staging' })
  const deploy = (run: string, attempt?: string) =>
    world.issue('shop-deploy', { purpose: 'deploy-staging', credential: 'orders-rw-staging' }, job(run, attempt))
  const end = (task: string, body: object, run: string) =>
    world.api('POST', `/v1/tasks/${task}/end`, { as: 'shop-deploy', claims: job(run), body })

  test('two first calls at once share one, another attempt has its own, and its end takes all', async () => {
    const both = await Promise.all([deploy('7001'), deploy('7001'), deploy('7001', '2')])
    expect(both.map(({ status }) => status)).toEqual([201, 201, 201])
    const [first = '', second, other = ''] = both.map(({ body }) => body.task)
    expect(first).toMatch(/^tsk_/)
    expect(second).toBe(first)
    expect(other).not.toBe(first)
    expect(await world.entries({ task: first, kind: 'task.opened' })).toMatchObject([
      { intent: 'github-actions run 7001 attempt 1', run: 'run/7001/attempt/1', workload: 'shop-deploy' },
    ])
    expect(await end(first, { idle: true }, '7001')).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
    const { body } = await end(first, {}, '7001')
    expect(body.grants).toHaveLength(2)
    for (const { body: issued } of both.slice(0, 2)) expect(await world.login(issued.secret)).toMatch(/^28/)
    expect(await world.login(both[2]?.body.secret)).toBe('in')

    // The same job goes on: what it takes hangs on a task again, which goes on counting.
    const later = await deploy('7001')
    expect(later.body.task).not.toBe(first)
    const view = await world.api('GET', `/v1/tasks/${later.body.task}`, { as: 'shop-deploy', claims: job('7001') })
    expect(view.body).toMatchObject({ run: 'run/7001/attempt/1', grants: 3 })
  })

  test('it is found again after a restart, and closed when nothing hangs on it', async () => {
    const { body: first } = await deploy('7002')
    await world.restart()
    const { body: second } = await deploy('7002')
    expect(second.task).toBe(first.task)
    for (const { grant } of [first, second]) {
      await world.api('POST', `/v1/grants/${grant}/revoke`, { as: 'shop-deploy', claims: job('7002') })
    }
    expect((await end(first.task, { idle: true }, '7002')).status).toBe(200)
    expect(await world.entries({ task: first.task, kind: 'task.opened' })).toHaveLength(1)
  })

  test('a job of GitLab is one too', async () => {
    const ask = (job_id: string) =>
      world.issue('shop-deploy-gitlab', { purpose: 'deploy', credential: 'orders-rw-staging' }, { job_id })
    const [first, second, other] = [await ask('1213'), await ask('1213'), await ask('1214')]
    expect(first.status, first.text).toBe(201)
    expect(second.body.task).toBe(first.body.task)
    expect(other.body.task).not.toBe(first.body.task)
    expect(await world.entries({ task: first.body.task, kind: 'task.opened' })).toMatchObject([
      { intent: 'gitlab job 1213', run: 'job/1213' },
    ])
  })

  test('what is refused opens no task', async () => {
    const { body } = await world.issue('shop-deploy', { purpose: 'deploy-staging' }, job('7003'))
    expect(body.code).toBe('credential_not_in_purpose')
    const opened = await world.entries({ kind: 'task.opened', workload: 'shop-deploy' })
    expect(opened.filter((entry) => Reflect.get(entry, 'run') === 'run/7003/attempt/1')).toEqual([])
  })

  test('a service’s pod is one only where its purpose says so', async () => {
    const service = await world.issue('checkout', { purpose: 'read-orders' })
    expect(service.body.task).toBeUndefined()
    const pod = {
      sub: 'system:serviceaccount:orders:checkout-a1',
      'kubernetes.io': {
        namespace: 'orders',
        serviceaccount: { name: 'checkout-a1', uid: '5f6f3f6e-1111-4222-8333-444455556666' },
        pod: { name: 'p', uid: '0b5ee3ae-59b5-4f0e-9a2c-6d2f5a1f2c11' },
      },
    }
    const preview = await world.issue('checkout-staging', { purpose: 'try-changes' }, pod)
    expect(preview.status).toBe(201)
    expect(await world.entries({ task: preview.body.task, kind: 'task.opened' })).toMatchObject([
      { intent: 'kubernetes pod 0b5ee3ae-59b5-4f0e-9a2c-6d2f5a1f2c11' },
    ])
  })
})

test('opening a task again with its Idempotency-Key finds it; the key does not open another', async () => {
  const headers = { 'idempotency-key': 'open-1' }
  const body = { purpose: 'fix-bug', intent: 'once' }
  const openings = await Promise.all([1, 2].map(() => world.api('POST', '/v1/tasks', { as: agent, body, headers })))
  expect(openings.map(({ status }) => status)).toEqual([201, 201])
  expect(openings[0]?.body.task).toBe(openings[1]?.body.task)
  await world.restart()
  const again = await world.api('POST', '/v1/tasks', { as: agent, body, headers })
  expect(again.body.task).toBe(openings[0]?.body.task)
  const other = await world.api('POST', '/v1/tasks', { as: agent, body: { ...body, intent: 'another' }, headers })
  expect(other).toMatchObject({ status: 400, body: { code: 'request_invalid', reasons: ['idempotency_key'] } })
  await world.api('POST', `/v1/tasks/${again.body.task}/end`, { as: agent })
})

describe.skipIf(!baoAvailable())('tasks over a real OpenBao', () => {
  let real: World
  beforeAll(async () => {
    real = await startWorld({
      vault: 'bao-raft',
      async policies({ edit }) {
        await edit('workloads/coding-agent.yaml', (text) =>
          text.replace('active: 3 # of one task at once', '').replace('active: 3, per_minute: 10', 'active: 50'),
        )
      },
    })
  })
  afterAll(() => real?.stop())

  test('a task with twenty database users ends them all in one call, and says how long each took', async () => {
    const opened = await real.api('POST', '/v1/tasks', { as: agent, body: { purpose: 'fix-bug', intent: 'twenty' } })
    const { task } = opened.body
    const issued = await Promise.all(
      Array.from({ length: 20 }, () => real.issue(agent, { purpose: 'fix-bug', task, ttl: '5m' })),
    )
    expect(issued.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 201))
    const { body } = await real.api('POST', `/v1/tasks/${task}/end`, { as: agent, body: { outcome: 'done' } })
    expect(body.grants).toHaveLength(20)
    expect(body.grants.every(({ outcome }) => outcome === 'revoked')).toBe(true)
    expect(body.grants.every(({ latency_ms }) => latency_ms >= 0)).toBe(true)
    expect(await real.leases('orders-rw-staging')).toEqual([])
    for (const { body: each } of issued) expect(await real.login(each.secret)).toMatch(/^28/)
  })
})
