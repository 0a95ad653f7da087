import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, expect, it } from 'vitest'
import { runWrit } from '../support/serve.ts'
import { ended, grantId, issued, ok, refusal, type ScriptedBroker, scriptedBroker, taskId } from './scripted-broker.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-exec-task-'))
const tokenFile = join(folder, 'token')
writeFileSync(tokenFile, 'a-token\n')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const issue = 'POST /v1/credentials'
const open = 'POST /v1/tasks'
const beat = `POST /v1/tasks/${taskId}/heartbeat`
const end = `POST /v1/tasks/${taskId}/end`
const revoke = `POST /v1/grants/${grantId}/revoke`

let broker: ScriptedBroker
afterEach(() => broker.close())

const task = (heartbeatSeconds: number | null) => ({
  task: taskId,
  workload: 'coding-agent',
  purpose: 'fix-bug',
  intent: 'look',
  status: 'open',
  opened_at: '2026-11-22T10:00:00.000Z',
  expires_at: '2026-11-22T11:00:00.000Z',
  ended_at: null,
  heartbeat_due_at: heartbeatSeconds === null ? null : '2026-11-22T10:00:30.000Z',
  heartbeat_seconds: heartbeatSeconds,
  run: null,
  grants: 0,
})
const taskEnded = ok({
  task: taskId,
  status: 'ended',
  grants: [{ grant: grantId, credential: 'orders-ro', outcome: 'revoked', latency_ms: 3 }],
})
const exec = (options: readonly string[], script = 'console.log(process.env.WRIT_TASK)') =>
  runWrit(['exec', '--purpose', 'fix-bug', ...options, '--', process.execPath, '-e', script], {
    env: { WRIT_URL: broker.url, WRIT_TOKEN_FILE: tokenFile },
  })

it('opens a task for a stated intent, keeps it alive while the command runs, and ends it with what came of it', async () => {
  broker = await scriptedBroker({
    [open]: () => ok(task(1), 201),
    [beat]: () => ok(task(1)),
    [issue]: () => issued(60_000, { task: taskId }),
    [end]: () => taskEnded,
  })
  const script = 'console.log(process.env.WRIT_TASK); setTimeout(() => process.exit(3), 1800)'
  const exit = await exec(['--intent', 'look at order 42'], script)
  expect(exit).toMatchObject({ code: 3, stdout: `${taskId}\n`, stderr: '' })
  expect(broker.requests(open)[0]?.body).toEqual({ purpose: 'fix-bug', intent: 'look at order 42' })
  expect(broker.requests(issue)[0]?.body).toEqual({ purpose: 'fix-bug', task: taskId })
  expect(broker.requests(beat).length).toBeGreaterThan(1)
  expect(broker.requests(end).map(({ body }) => body)).toEqual([{ outcome: 'exit status 3' }])
  expect(broker.requests(revoke)).toEqual([])
})

it('ends its task when the credential is refused', async () => {
  broker = await scriptedBroker({
    [open]: () => ok(task(null), 201),
    [beat]: () => ok(task(null)),
    [issue]: () => refusal('condition_failed'),
    [end]: () => taskEnded,
  })
  expect(await exec(['--intent', 'look'])).toMatchObject({ code: 3, stdout: '' })
  expect(broker.requests(end).map(({ body }) => body)).toEqual([{ outcome: 'nothing was run' }])
})

it('hands back by itself when its task could not be ended, and says so', async () => {
  broker = await scriptedBroker({
    [open]: () => ok(task(null), 201),
    [beat]: () => ok(task(null)),
    [issue]: () => issued(60_000, { task: taskId }),
    [end]: () => refusal('internal'),
    [revoke]: () => ended(),
  })
  const exit = await exec(['--intent', 'look'])
  expect(exit.code).toBe(0)
  expect(exit.stderr).toContain('could not be ended')
  expect(broker.requests(revoke)).toHaveLength(1)
})

it('hands back by itself what the end of its task could not revoke yet', async () => {
  broker = await scriptedBroker({
    [open]: () => ok(task(null), 201),
    [beat]: () => ok(task(null)),
    [issue]: () => issued(60_000, { task: taskId }),
    [end]: () =>
      ok({
        task: taskId,
        status: 'ended',
        grants: [{ grant: grantId, credential: 'orders-ro', outcome: 'pending', latency_ms: 3 }],
      }),
    [revoke]: () => ended(),
  })
  expect(await exec(['--intent', 'look'])).toMatchObject({ code: 0 })
  expect(broker.requests(revoke)).toHaveLength(1)
})

it.each([
  ['nothing else hangs on it', () => taskEnded],
  ['another command of the job still holds something', () => refusal('state_conflict')],
])('closes the task of its job once it has handed back, if it may: %s', async (_, answer) => {
  broker = await scriptedBroker({
    [beat]: () => ok(task(null)),
    [issue]: () => issued(60_000, { task: taskId }),
    [revoke]: () => ended(),
    [end]: answer,
  })
  const exit = await exec([])
  expect(exit).toMatchObject({ code: 0, stdout: `${taskId}\n`, stderr: '' })
  const order = broker.seen.map(({ path }) => path.split('/').at(-1)).filter((verb) => verb !== 'heartbeat')
  expect(order).toEqual(['credentials', 'revoke', 'end'])
  expect(broker.requests(end)[0]?.body).toEqual({ idle: true })
})

it('leaves a task that it joins open, and says that it is at work', async () => {
  broker = await scriptedBroker({
    [beat]: () => ok(task(null)),
    [issue]: () => issued(60_000, { task: taskId }),
    [revoke]: () => ended(),
  })
  expect((await exec(['--task', taskId])).code).toBe(0)
  expect(broker.requests(beat)).toHaveLength(1)
  expect(broker.requests(end)).toEqual([])
})

it('takes an intent or a task, not both', async () => {
  broker = await scriptedBroker({})
  expect((await exec(['--task', taskId, '--intent', 'x'])).code).toBe(2)
  expect(broker.seen).toEqual([])
})

it('asks again once with the same key when the answer is lost, and with another key the next time', async () => {
  let asked = 0
  broker = await scriptedBroker({
    [issue]: () => (++asked === 1 ? undefined : issued()),
    [revoke]: () => ended(),
  })
  expect((await exec([])).code).toBe(0)
  expect((await exec([])).code).toBe(0)
  const keys = broker.keys.filter((_, at) => broker.seen[at]?.path === '/v1/credentials')
  expect(keys).toHaveLength(3)
  expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/)
  expect(keys[1]).toBe(keys[0])
  expect(keys[2]).not.toBe(keys[0])
})
