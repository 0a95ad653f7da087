import { afterAll, beforeAll, expect, test } from 'vitest'
import { renewedSchema } from '../../src/contract/grant.ts'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'

const clock = shiftedClock()
let world: World
beforeAll(async () => {
  world = await startWorld({
    clock,
    async policies({ edit }) {
      await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 40'))
    },
  })
})
afterAll(() => world?.stop())

const renew = (grant: string, body: object = {}, as = 'checkout') =>
  world.api('POST', `/v1/grants/${grant}/renew`, { as, body })

test('a renewal moves the end on, up to the ceilings the grant was issued under and never past them', async () => {
  const { body } = await world.issue('checkout', { purpose: 'read-orders', ttl: '15m' })
  clock.shift(10 * 60_000)
  const moved = await renew(body.grant, { ttl: '15m' })
  expect(moved.status).toBe(200)
  expect(renewedSchema.strict().safeParse(moved.body).error).toBeUndefined()
  expect(Date.parse(moved.body.expires_at)).toBeGreaterThan(Date.parse(body.expires_at))
  expect(await world.login(body.secret)).toBe('in')

  // The purpose allows an hour in all, whatever is asked for and however often.
  const hourMs = Date.parse(body.issued_at) + 3_600_000
  for (let minutes = 10; minutes < 60; minutes += 10) {
    clock.shift(10 * 60_000 - 5_000)
    const answer = await renew(body.grant, { ttl: '1h' })
    if (answer.status !== 200) break
    expect(Date.parse(answer.body.expires_at)).toBeLessThanOrEqual(hourMs + 2_000)
    if (minutes > 20) expect(answer.body.ttl_capped_by.length).toBeGreaterThan(0)
  }
  const renewals = await world.entries({ grant: body.grant, kind: 'grant.renewed' })
  expect(renewals.length).toBeGreaterThan(0)
  clock.shift(15 * 60_000)
  await eventually(async () => {
    const { body: seen } = await world.api('GET', `/v1/grants/${body.grant}`, { as: 'checkout' })
    return seen.status === 'ended' ? true : undefined
  }, 'the hour is over')
  expect(await world.login(body.secret)).toMatch(/^28/)
})

test('a renewal never shortens', async () => {
  const { body } = await world.issue('checkout', { purpose: 'read-orders', ttl: '30m' })
  const answer = await renew(body.grant, { ttl: '1m' })
  expect(answer).toMatchObject({ status: 200, body: { expires_at: body.expires_at } })
})

test('only its holder renews it; to others it is not there, its owner included', async () => {
  const { body } = await world.issue('checkout', { purpose: 'read-orders' })
  for (const as of ['nightly-report', 'alice@payments', 'dana@security']) {
    expect(await renew(body.grant, {}, as), as).toMatchObject({ status: 404, body: { code: 'not_found' } })
  }
})

test('what cannot be renewed, or has ended, says so and stays as it is', async () => {
  const production = { stage: 'production' }
  const { body: agentTask } = await world.api('POST', '/v1/tasks', {
    as: 'coding-agent',
    claims: production,
    body: { purpose: 'investigate', intent: 'a complaint' },
  })
  const looking = { purpose: 'investigate', task: agentTask.task, reason: 'order 7' }
  const { body: fixed } = await world.issue('coding-agent', looking, production)
  const refused = await renew(fixed.grant, {}, 'coding-agent')
  expect(refused).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
  expect(await world.login(fixed.secret)).toBe('in')

  const { body } = await world.issue('checkout', { purpose: 'read-orders' })
  await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
  expect(await renew(body.grant)).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
})

test('when a condition on the token is true no more, the renewal is refused and the credential ends there and then', async () => {
  const { body } = await world.issue('checkout', { purpose: 'read-orders' })
  expect(await world.login(body.secret)).toBe('in')
  // Nobody keeps the claims of a token, so the reload cannot tell; the renewal brings a token.
  await world.policies.edit('workloads/checkout.yaml', (text) =>
    text.replace(/when: .*/, 'when: has(claims.tier) && claims.tier == "gold"'),
  )
  const reloaded = await world.api('POST', '/v1/policies/reload', { as: 'dana@security' })
  expect(reloaded).toMatchObject({ status: 200, body: { refused: null, held: null } })
  expect(await world.login(body.secret)).toBe('in')

  const answer = await renew(body.grant)
  expect(answer).toMatchObject({ status: 403, body: { code: 'condition_failed' } })
  expect(await world.login(body.secret)).toMatch(/^28/)
  const ended = await world.entries({ grant: body.grant, kind: 'grant.ended' })
  expect(ended).toMatchObject([{ cause: 'policy_changed', outcome: 'revoked' }])
  const denied = (await world.entries({ kind: 'request.denied' })).filter(({ grant }) => grant === body.grant)
  expect(denied).toMatchObject([{ code: 'condition_failed' }])
})
