import { afterAll, beforeAll, expect, test } from 'vitest'
import type { DevStack } from '../../src/dev/stack.ts'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'

let world: World
let proxy: TcpProxy
beforeAll(async () => {
  let stack: DevStack | undefined
  world = await startWorld({
    async prepare(started) {
      stack = started
      proxy = await startProxy(stack.vault.address)
    },
    config: (config) => ({ ...config, vault: { ...config.vault, address: proxy.url } }),
  })
})
afterAll(async () => {
  await world?.stop()
  await proxy?.stop()
})

const reload = () => world.api('POST', '/v1/policies/reload', { as: 'dana@security' })
const checkout = 'workloads/checkout.yaml'

/** Runs `act` while Vault is at work on a request of that kind and has not answered. */
async function during<T>(head: RegExp, call: () => Promise<T>, act: () => Promise<unknown>): Promise<T> {
  proxy.only((text) => head.test(text))
  proxy.set({ delayMs: 1_500 })
  const met = proxy.met
  const answer = call()
  await eventually(async () => (proxy.met > met ? true : undefined), 'Vault is asked')
  await act()
  const result = await answer
  proxy.set('pass')
  return result
}

test('policies that change while Vault mints decide about what comes of it', async () => {
  const answer = await during(
    /creds\/orders-ro/,
    () => world.issue('checkout', { purpose: 'read-orders' }),
    async () => {
      await world.policies.edit(checkout, (text) => text.replace('id: read-orders', 'id: read-orders-2'))
      await reload()
    },
  )
  expect(answer).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
  expect(JSON.stringify(answer.body)).not.toContain('password')
  const [ending] = await world.entries({ kind: 'grant.ending' })
  expect(ending).toMatchObject({
    cause: 'policy_changed',
    reason: expect.stringContaining('read-orders of checkout is gone'),
  })
  await eventually(async () => ((await world.leases('orders-ro')).length === 0 ? true : undefined), 'no lease is left')
  await world.policies.edit(checkout, (text) => text.replace('id: read-orders-2', 'id: read-orders'))
  await reload()
})

test('a renewal that was decided under the policies before never outlives the new ceiling', async () => {
  const { body } = await world.issue('checkout', { purpose: 'read-orders', ttl: '5m' })
  const answer = await during(
    /leases\/renew/,
    () => world.api('POST', `/v1/grants/${body.grant}/renew`, { as: 'checkout', body: { ttl: '1h' } }),
    async () => {
      await world.policies.edit(checkout, (text) => text.replace('{ default: 15m, max: 1h }', '{ max: 10m }'))
      await reload()
    },
  )
  const lastMs = Date.parse(body.issued_at) + 600_000
  expect(answer.status, answer.text).toBe(200)
  expect(Date.parse(answer.body.expires_at)).toBeLessThanOrEqual(lastMs)
  const { body: seen } = await world.api('GET', `/v1/grants/${body.grant}`, { as: 'checkout' })
  expect(Date.parse(seen.expires_at)).toBe(lastMs)
})
