import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'

const clock = shiftedClock()
const checkout = 'workloads/checkout.yaml'
let world: World
let asWritten = ''
beforeAll(async () => {
  world = await startWorld({
    clock,
    // Whatever an edit would end waits for an operator, so that a renewal comes upon it.
    config: (config) => ({ ...config, policyChange: { brake: { percent: 0, least: 1 } } }),
    async policies({ edit }) {
      await edit(checkout, (text) => {
        asWritten = text.replace('active: 4, per_minute: 30', 'active: 40')
        return asWritten
      })
    },
  })
})
afterEach(() => policy((text) => text))
afterAll(() => world?.stop())

const renew = (grant: string, body: object = {}) =>
  world.api('POST', `/v1/grants/${grant}/renew`, { as: 'checkout', body })
const hold = async (ttl: string) => (await world.issue('checkout', { purpose: 'read-orders', ttl })).body

async function policy(change: (text: string) => string): Promise<void> {
  await world.policies.write(checkout, change(asWritten))
  const answer = await world.api('POST', '/v1/policies/reload', { as: 'dana@security' })
  expect(answer, answer.text).toMatchObject({ status: 200, body: { refused: null } })
}

test('renewing in a circle costs Vault and the ledger nothing: time that is not worth a second is not given', async () => {
  const { grant, expires_at } = await hold('15m')
  for (let i = 0; i < 40; i++) expect((await renew(grant, { ttl: '15m' })).status).toBe(200)
  const renewals = await world.entries({ grant, kind: 'grant.renewed' })
  expect(renewals.length).toBeLessThanOrEqual(Math.ceil((clock.now() + 900_000 - Date.parse(expires_at)) / 1000))
})

test('a ceiling that was lowered since holds for the whole life of the credential, not from each renewal on', async () => {
  const { grant, issued_at } = await hold('15m')
  await policy((text) => text.replace('max: 1h', 'max: 20m'))
  clock.shift(10 * 60_000)
  const first = await renew(grant, { ttl: '15m' })
  expect(first.status, first.text).toBe(200)
  expect(Date.parse(first.body.expires_at)).toBeLessThanOrEqual(Date.parse(issued_at) + 1_200_000)
  clock.shift(5 * 60_000)
  const second = await renew(grant, { ttl: '15m' })
  expect(second.status, second.text).toBe(200)
  expect(Date.parse(second.body.expires_at)).toBeLessThanOrEqual(Date.parse(issued_at) + 1_200_000)
})

test('what now needs a person’s yes is not renewed without one, also while an operator has not let it end', async () => {
  const { grant, expires_at } = await hold('15m')
  await policy((text) => text.replace('approval: none', 'approval: owner'))
  clock.shift(60_000)
  expect(await renew(grant)).toMatchObject({ status: 403, body: { code: 'approval_denied' } })
  const { body } = await world.api('GET', `/v1/grants/${grant}`, { as: 'checkout' })
  expect(body).toMatchObject({ status: 'active', expires_at })
  const [denied] = await world.entries({ grant, kind: 'request.denied' })
  expect(denied).toMatchObject({ code: 'approval_denied', workload: 'checkout', owner: 'payments' })
})
