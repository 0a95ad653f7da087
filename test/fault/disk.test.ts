import { afterAll, beforeAll, expect, test } from 'vitest'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { startWorld, type World } from '../support/broker.ts'
import { type Answer, callApi } from '../support/call-api.ts'
import { eventually } from '../support/child.ts'
import { type ServeFolder, type Serving, serveFolder, startServe } from '../support/serve.ts'

let world: World
let folder: ServeFolder
let serving: Serving | undefined
beforeAll(async () => {
  world = await startWorld({
    broker: false,
    async policies({ edit }) {
      await edit('workloads/checkout.yaml', (text) =>
        text.replace('limits: { active: 4, per_minute: 30 }', 'limits: { active: 1000 }'),
      )
    },
  })
  folder = await serveFolder(world.stack, world.policies.dir)
})
afterAll(async () => {
  serving?.signal('SIGKILL')
  await serving?.exited
  await folder?.close()
  await world?.stop()
})

const issue = async (url: string): Promise<Answer | undefined> =>
  callApi(url, 'POST', '/v1/credentials', {
    token: await world.token('checkout'),
    body: { purpose: 'read-orders' },
  }).catch(() => undefined)

// The kernel refuses to let any file of the process grow beyond this, as a full disk would: real writes, really refused.
const mostKiB = 96

test('a ledger that cannot be written issues nothing, ends the process, and loses nothing that was issued', async () => {
  serving = await startServe(folder, { mostFileKiB: mostKiB })
  const held: Answer[] = []
  let refused: Answer | undefined
  for (let tries = 0; tries < 400 && refused === undefined; tries++) {
    const answer = await issue(serving.url)
    if (answer?.status === 201) held.push(answer)
    else refused = answer
    if (answer === undefined) break
  }
  expect(held.length).toBeGreaterThan(5)
  expect(refused?.status).toBe(503)
  expect(refused?.body).toMatchObject({ code: 'ledger_unavailable' })
  expect(Number(refused?.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(refused?.body.secret).toBeUndefined()
  const exit = await serving.exited
  expect(exit.code).toBe(1)
  expect(exit.stderr).toContain('the ledger can no longer be written')

  // With room again: every credential that was handed out is known, and whatever the failed request left is revoked.
  serving = await startServe(folder)
  const { url } = serving
  for (const { body } of held) {
    const token = await world.token('checkout')
    const seen = await callApi(url, 'GET', `/v1/grants/${body.grant}`, { token })
    expect(seen.body).toMatchObject({ status: 'active' })
  }
  await eventually(
    async () => ((await world.leases('orders-ro')).length === held.length ? true : undefined),
    'only what was handed out is alive',
  )
  expect((await issue(url))?.status).toBe(201)
  serving.signal('SIGTERM')
  expect((await serving.exited).code).toBe(0)
  const report = await verifyLedger({ dir: folder.ledger, vkey: await folder.vkey() })
  expect(report).toMatchObject({ ok: true, problems: [] })
})
