import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import { spawnWrit } from '../support/serve.ts'

let world: World
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'writ-task-'))
  world = await startWorld()
})
afterAll(async () => {
  await world?.stop()
  await rm(folder, { recursive: true, force: true })
})

async function writ(as: string, claims: Record<string, string>, ...args: string[]) {
  const file = join(folder, `${as}-${Object.values(claims).join('-')}`)
  await writeFile(file, await world.token(as, claims))
  return spawnWrit(args, { env: { WRIT_URL: world.url, WRIT_TOKEN_FILE: file } })
}
const node = (script: string) => ['--', process.execPath, '-e', script]
const untilSignal = "process.on('SIGTERM', () => process.exit(0)); setInterval(() => {}, 1e6); console.log('ready')"
const ready = (process: { stdout(): string }) =>
  eventually(async () => process.stdout().includes('ready') || undefined, 'the command runs')
const endOf = async (task: unknown) => world.entries({ task: String(task), kind: 'task.ended' })

test('writ exec opens a task with its intent and ends it whatever the exit, killed included', async () => {
  for (const [script, code] of [
    ['process.exit(7)', 7],
    ['process.kill(process.pid, "SIGKILL")', 137],
  ] as const) {
    const intent = `end with ${code}`
    const process = await writ('coding-agent', {}, 'exec', '--purpose', 'fix-bug', '--intent', intent, ...node(script))
    expect((await process.exited).code).toBe(code)
    const opened = (await world.entries({ kind: 'task.opened' })).find(
      (entry) => Reflect.get(entry, 'intent') === intent,
    )
    expect(await endOf(opened?.task)).toMatchObject([{ cause: 'holder', outcome: `exit status ${code}`, grants: 1 }])
  }
  expect(await world.leases('orders-rw-staging')).toEqual([])
})

test('two commands of one job share its task, and the last of them closes it', async () => {
  const job = { run_id: '8001', run_attempt: '1', environment: 'staging' }
  const command = ['exec', '--purpose', 'deploy-staging', '--credential', 'orders-rw-staging']
  const [first, second] = [
    await writ('shop-deploy', job, ...command, ...node(untilSignal)),
    await writ('shop-deploy', job, ...command, ...node(untilSignal)),
  ]
  await Promise.all([ready(first), ready(second)])
  const opened = await world.entries({ kind: 'task.opened', workload: 'shop-deploy' })
  expect(opened).toMatchObject([{ run: 'run/8001/attempt/1' }])
  const task = opened[0]?.task
  first.signal('SIGTERM')
  expect((await first.exited).code).toBe(0)
  expect(await endOf(task)).toEqual([])
  expect(await world.leases('orders-rw-staging')).toHaveLength(1)
  second.signal('SIGTERM')
  expect(await second.exited).toMatchObject({ code: 0, stderr: '' })
  expect(await endOf(task)).toMatchObject([{ cause: 'holder', grants: 0 }])
  expect(await world.leases('orders-rw-staging')).toEqual([])
})
