import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { policyStatusSchema } from '../../src/contract/policy.ts'
import { readinessSchema } from '../../src/contract/readiness.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'

const clock = shiftedClock()
let world: World
beforeAll(async () => {
  world = await startWorld({ clock })
})
afterAll(() => world?.stop())

const ready = async () => {
  const { status, body } = await world.api('GET', '/readyz')
  return { status, body: readinessSchema.strict().parse(body) }
}
const metric = async (pattern: RegExp): Promise<number> => {
  const { text } = await world.api('GET', '/metrics')
  return Number(pattern.exec(text)?.[1] ?? Number.NaN)
}
const reload = (as = 'dana@security') => world.api('POST', '/v1/policies/reload', { as })

describe('probes and documents', () => {
  test('are answered to anybody, and say what is there', async () => {
    expect((await world.api('GET', '/healthz')).body).toEqual({ status: 'ok' })
    // Keys are fetched in the background: an issuer that is not there yet holds up nobody else.
    const settled = async () => {
      const seen = await ready()
      return seen.status === 200 && seen.body.issuers.every((issuer) => issuer.ready) ? seen : undefined
    }
    const { status, body } = await eventually(settled, 'the broker and every issuer are ready')
    expect(status).toBe(200)
    expect(body).toMatchObject({ ready: true, draining: false, vault: { ready: true }, ledger: { ready: true } })
    expect(body.issuers.map(({ name }) => name).sort()).toEqual(
      ['agents', 'cluster-eu', 'cluster-staging', 'github', 'people', 'reporting-vendor', 'trust-signals'].sort(),
    )
    const openapi = await world.api('GET', '/openapi.json')
    expect(openapi.body).toMatchObject({ openapi: expect.stringMatching(/^3\.1/) })
    expect(Object.keys(openapi.body.paths as object)).toEqual(
      expect.arrayContaining(['/v1/credentials', '/v1/grants/{id}/renew', '/v1/revocations', '/v1/tasks/{id}/end']),
    )
    for (const page of ['/docs', '/docs/errors']) {
      const answer = await world.api('GET', page)
      expect(answer.status).toBe(200)
      expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'")
      expect(answer.text).not.toMatch(/<script|https?:\/\/(?:cdn|unpkg)/)
    }
    expect((await world.api('GET', '/docs/errors')).text).toContain('id="limit_reached"')
  })

  test('metrics count what the ledger records', async () => {
    const live = () => metric(/^writ_\w*live\w* (\d+)$/m)
    const before = await live()
    const { body } = await world.issue('checkout', { purpose: 'read-orders' })
    expect(await live()).toBe(before + 1)
    await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
    expect(await live()).toBe(before)
  })
})

describe('policies while the broker runs', () => {
  test('a good set is in force with the next request, for operators to load and for nobody else', async () => {
    expect((await reload('alice@payments')).status).toBe(403)
    expect((await reload('checkout')).status).toBe(403)
    const before = (await ready()).body.policy.digest
    await world.policies.edit('workloads/checkout.yaml', (text) => text.replace('max: 1h', 'max: 20m'))
    const { status, body } = await reload()
    expect(status).toBe(200)
    expect(policyStatusSchema.strict().safeParse(body).error).toBeUndefined()
    expect(body.digest).not.toBe(before)
    const issued = await world.issue('checkout', { purpose: 'read-orders', ttl: '1h' })
    expect(issued.body.ttl_capped_by).toEqual(['purpose'])
    expect(Date.parse(issued.body.expires_at) - Date.parse(issued.body.issued_at)).toBeLessThanOrEqual(1_200_000)
    const loaded = (await world.entries({ kind: 'policy.loaded' })).at(-1)
    expect(loaded).toMatchObject({ policy: body.digest })
    await world.api('POST', `/v1/grants/${issued.body.grant}/revoke`, { as: 'checkout' })
  })

  test('a bad set changes nothing, and is seen in the answer, /readyz, metrics and the ledger until a good one comes', async () => {
    const { digest } = (await ready()).body.policy
    await world.policies.edit('workloads/checkout.yaml', (text) => text.replace('owner: payments', 'owner: nobody'))
    const { status, body } = await reload()
    expect(status).toBe(200)
    expect(body).toMatchObject({ digest, refused: { problems: [expect.stringContaining('workloads/checkout.yaml:')] } })
    const seen = await ready()
    expect(seen.status).toBe(200)
    expect(seen.body.policy).toMatchObject({ digest, refused: { problems: [expect.stringContaining('nobody')] } })
    expect(await metric(/^writ_policy\w*refused\w* (\d+)$/m)).toBe(1)
    const entry = (await world.entries({ kind: 'policy.refused' })).at(-1)
    expect(entry?.problems).toEqual([expect.stringContaining('workloads/checkout.yaml:')])
    const { body: held } = await world.issue('checkout', { purpose: 'read-orders' })
    expect(held.grant).toMatch(/^gr_/)

    await world.policies.edit('workloads/checkout.yaml', (text) => text.replace('owner: nobody', 'owner: payments'))
    expect((await reload()).body.refused).toBeNull()
    expect((await ready()).body.policy.refused).toBeNull()
    expect(await metric(/^writ_policy\w*refused\w* (\d+)$/m)).toBe(0)
    await world.api('POST', `/v1/grants/${held.grant}/revoke`, { as: 'checkout' })
  })

  test('an edit is noticed without being told', async () => {
    const { digest } = (await ready()).body.policy
    await world.policies.edit('workloads/checkout.yaml', (text) => text.replace('max: 20m', 'max: 25m'))
    await eventually(
      async () => ((await ready()).body.policy.digest === digest ? undefined : true),
      'the edit is loaded',
    )
  })
})

describe('tokens', () => {
  test('one use for each token where its issuer says so, in whatever order they come; elsewhere as often as it lives', async () => {
    const token = await world.token('reporting-vendor')
    const answers = await Promise.all(
      Array.from({ length: 4 }, () =>
        world.api('POST', '/v1/credentials', { token, body: { purpose: 'fetch-reports' } }),
      ),
    )
    // At most one got past the desk; what policy says to that one depends on the hour.
    expect(answers.filter(({ body }) => body.code === 'token_replayed')).toHaveLength(3)
    const reusable = await world.token('checkout')
    const twice = [1, 2].map(() => world.api('GET', '/v1/grants', { token: reusable }))
    expect((await Promise.all(twice)).map(({ status }) => status)).toEqual([200, 200])
  })

  test('a token of one environment never opens a purpose of another', async () => {
    const { body } = await world.api('POST', '/v1/tasks', {
      as: 'coding-agent',
      claims: { stage: 'production' },
      body: { purpose: 'fix-bug', intent: 'a look' },
    })
    expect(body).toMatchObject({ code: 'condition_failed', reasons: ['environment'] })
    const deploy = { purpose: 'deploy', params: { public_key: 'ssh-ed25519 AAAA' } }
    const staging = await world.issue('shop-deploy', deploy, { environment: 'staging' })
    expect(staging.body).toMatchObject({ code: 'condition_failed', reasons: ['environment'] })
    const none = await world.issue('shop-deploy', deploy, { environment: 'elsewhere' })
    expect(none.body).toMatchObject({ code: 'condition_failed', reasons: ['environment'] })
  })
})

describe('time', () => {
  test('a grant that runs out is ended by the broker, and its login is refused', async () => {
    const { body } = await world.issue('checkout', { purpose: 'read-orders', ttl: '2m' })
    expect(await world.login(body.secret)).toBe('in')
    clock.shift(125_000)
    const ended = await eventually(async () => {
      const [entry] = await world.entries({ grant: body.grant, kind: 'grant.ended' })
      return entry
    }, 'the sweep ends it')
    expect(ended).toMatchObject({ cause: 'expired', outcome: 'expired', actor: { type: 'broker' } })
    expect(await world.login(body.secret)).toMatch(/^28/)
    const seen = await world.api('GET', `/v1/grants/${body.grant}`, { as: 'checkout' })
    expect(seen.body).toMatchObject({ status: 'ended', outcome: 'expired' })
  })

  test('a task past its deadline takes its credentials with it', async () => {
    const { body: task } = await world.api('POST', '/v1/tasks', {
      as: 'coding-agent',
      body: { purpose: 'fix-bug', intent: 'a look', ttl: '5m' },
    })
    const { body } = await world.issue('coding-agent', { purpose: 'fix-bug', task: task.task, ttl: '4m' })
    clock.shift(301_000)
    await eventually(async () => ((await world.login(body.secret)) === 'in' ? undefined : true), 'the login is gone')
    const [ended] = await eventually(async () => {
      const found = await world.entries({ task: task.task, kind: 'task.ended' })
      return found.length > 0 ? found : undefined
    }, 'the task is ended')
    expect(ended).toMatchObject({ cause: 'deadline' })
  })
})

test('what was live before a restart is live after it, and the record verifies without the broker', async () => {
  const { body } = await world.issue('checkout', { purpose: 'read-orders' })
  const before = await world.api('GET', `/v1/grants/${body.grant}`, { as: 'checkout' })
  await world.restart()
  const after = await world.api('GET', `/v1/grants/${body.grant}`, { as: 'checkout' })
  expect(after.body).toEqual(before.body)
  expect(await world.login(body.secret)).toBe('in')
  const ended = await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
  expect(ended.body.outcome).toBe('revoked')
  expect(await world.login(body.secret)).toMatch(/^28/)
  const { ledger } = world
  await world.stopBroker()
  expect(await verifyLedger(ledger)).toMatchObject({ ok: true, unsigned: 0, problems: [] })
})
