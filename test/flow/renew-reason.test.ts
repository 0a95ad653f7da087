import { afterAll, beforeAll, expect, test } from 'vitest'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'

const clock = shiftedClock()
let world: World
beforeAll(async () => {
  world = await startWorld({
    clock,
    async policies({ edit }) {
      await edit('workloads/checkout.yaml', (text) =>
        text
          .replace('active: 4, per_minute: 30', 'active: 40')
          .replace('when: request.reason != "" || workload.type == "service"', `when: ${inRegion('eu')}`),
      )
      await edit('credentials/orders-database.yaml', (text) =>
        text.replace('name: orders-ro\n', 'name: orders-ro\naccepts: [region]\n'),
      )
    },
  })
})
afterAll(() => world?.stop())

const inRegion = (region: string): string => `request.params.region == "${region}"`
const take = (region: string) => world.issue('checkout', { purpose: 'read-orders', ttl: '15m', params: { region } })
const renew = (grant: string, as = 'checkout', body: object = {}) =>
  world.api('POST', `/v1/grants/${grant}/renew`, { as, body })
async function edit(file: string, change: (text: string) => string): Promise<void> {
  await world.policies.edit(file, change)
  const reloaded = await world.api('POST', '/v1/policies/reload', { as: 'dana@security' })
  expect(reloaded.body).toMatchObject({ refused: null })
}

test('a renewal is decided over the parameters of the request again, over a restart too', async () => {
  const { status, body } = await take('eu')
  expect(status).toBe(201)
  expect((await take('us')).body.code).toBe('condition_failed')
  await world.restart()
  clock.shift(10 * 60_000)
  const renewed = await renew(body.grant, 'checkout', { ttl: '15m' })
  expect(renewed.status).toBe(200)
  expect(Date.parse(renewed.body.expires_at)).toBeGreaterThan(Date.parse(body.expires_at))

  // The record holds them for the broker alone.
  const [intent] = await world.entries({ grant: body.grant, kind: 'grant.intent' })
  expect(Reflect.get(intent ?? {}, 'caller_params')).toMatch(/^ey[\w-]+\.\./)
  await edit('workloads/checkout.yaml', (text) => text.replace(inRegion('eu'), inRegion('us')))
  expect(await renew(body.grant)).toMatchObject({ status: 403, body: { code: 'condition_failed' } })
  expect(await world.login(body.secret)).toMatch(/^28/)
  expect(await world.entries({ grant: body.grant, kind: 'grant.ended' })).toMatchObject([{ cause: 'policy_changed' }])
  await edit('workloads/checkout.yaml', (text) => text.replace(inRegion('us'), inRegion('eu')))
})

test('a guardrail that is added later binds a renewal by the parameters of the request', async () => {
  const { body } = await take('eu')
  await world.policies.write(
    'guardrails/region.yaml',
    'kind: Guardrail\nname: region\napplies: { credential: orders-ro }\ndeny: request.params.region == "eu"\n',
  )
  await world.api('POST', '/v1/policies/reload', { as: 'dana@security' })
  expect(await renew(body.grant)).toMatchObject({ status: 403, body: { code: 'guardrail_denied' } })
  expect(await world.login(body.secret)).toMatch(/^28/)
  await world.policies.remove('guardrails/region.yaml')
  await world.api('POST', '/v1/policies/reload', { as: 'dana@security' })
})

test('what is too long to be kept with the grant makes it one that is not renewed', async () => {
  await edit('workloads/checkout.yaml', (text) => text.replace(inRegion('eu'), 'request.params.region != ""'))
  const { body } = await take('x'.repeat(5_000))
  expect(body).toMatchObject({ renewable: false })
  expect(await renew(body.grant)).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
  expect(await world.login(body.secret)).toBe('in')
})

test('a renewal needs a fresh token: what was good at issuance is not good for ever', async () => {
  const { body } = await take('eu')
  const old = await world.token('checkout', {}, 1_800)
  clock.shift(11 * 60_000)
  const answer = await world.api('POST', `/v1/grants/${body.grant}/renew`, { token: old })
  expect(answer).toMatchObject({ status: 401, body: { code: 'token_too_old' } })
  expect((await renew(body.grant)).status).toBe(200)
})

test('a purpose that asks for a task by now renews nothing that hangs on none', async () => {
  const { body } = await take('eu')
  await edit('workloads/checkout.yaml', (text) =>
    text.replace('    renewable: true', '    task: { required: true }\n    renewable: true'),
  )
  expect(await renew(body.grant)).toMatchObject({ status: 403, body: { code: 'task_required' } })
  expect(await world.login(body.secret)).toMatch(/^28/)
})

test('a renewal never reaches past the end of its task, nor a task that has ended', async () => {
  const opened = await world.api('POST', '/v1/tasks', {
    as: 'coding-agent',
    body: { purpose: 'fix-bug', intent: 'a short one', ttl: '4m' },
  })
  const { task } = opened.body
  const { body } = await world.issue('coding-agent', { purpose: 'fix-bug', task, ttl: '1m' })
  const answer = await renew(body.grant, 'coding-agent', { ttl: '1h' })
  expect(answer.status).toBe(200)
  expect(Date.parse(answer.body.expires_at)).toBeLessThanOrEqual(Date.parse(opened.body.expires_at))
  expect(answer.body.ttl_capped_by).toContain('task')
  await world.api('POST', `/v1/tasks/${task}/end`, { as: 'coding-agent' })
  expect(await renew(body.grant, 'coding-agent')).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
})
