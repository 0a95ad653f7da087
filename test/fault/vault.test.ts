import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { baoAvailable } from '../support/bao.ts'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { vaultApi } from '../support/vault-api.ts'

const isMint = (head: string): boolean => /^(?:GET|PUT|POST) \/v1\/database\/creds\//.test(head)
const isRevoke = (head: string): boolean => /^(?:PUT|POST) \/v1\/sys\/leases\/revoke/.test(head)
const clock = shiftedClock()
let world: World
let proxy: TcpProxy

beforeAll(async () => {
  world = await startWorld({
    clock,
    async policies({ edit }) {
      await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 100'))
    },
    prepare: async (stack) => {
      proxy = await startProxy(stack.vault.address)
    },
    config: (config) => ({ ...config, vault: { ...config.vault, address: proxy.url, timeoutMs: 500 } }),
  })
})
afterEach(() => {
  proxy.set('pass')
  proxy.only(() => true)
})
afterAll(async () => {
  await world?.stop()
  await proxy?.stop()
})

const issue = () => world.issue('checkout', { purpose: 'read-orders' })
const story = async (grant: unknown) => (await world.entries({ grant: String(grant) })).map(({ kind }) => kind)
const lastIntent = async () => (await world.entries({ kind: 'grant.intent' })).at(-1)
const orphans = async () => (await world.entries({ kind: 'grant.ended' })).filter(({ cause }) => cause === 'orphan')
const until = (look: () => Promise<boolean>, what: string) =>
  eventually(async () => ((await look()) ? true : undefined), what)

test('a Vault that cannot be reached issues nothing, and the record says so', async () => {
  proxy.set('refuse')
  const { status, body } = await issue()
  expect({ status, code: body.code }).toEqual({ status: 503, code: 'vault_unavailable' })
  const intent = await lastIntent()
  expect(await story(intent?.grant)).toEqual(['grant.intent', 'grant.failed'])
  proxy.set('pass')
  await until(async () => (await issue()).status === 201, 'it is back')
})

describe.each([
  ['is carried out, and its answer is lost', 'cut'],
  ['is never answered', 'stall'],
  ['is carried out, and its answer comes too late', { delayMs: 2_000 }],
] as const)('a mint that %s', (_, weather) => {
  test('is never issued, and what it left in Vault is revoked once it can no longer be under way', async () => {
    await world.api('POST', '/v1/revocations', { as: 'dana@security', body: { match: { all: true }, reason: 'start' } })
    const before = (await orphans()).length
    proxy.only(isMint)
    proxy.set(weather)
    const { status, body } = await issue()
    expect({ status, code: body.code }).toEqual({ status: 503, code: 'vault_unavailable' })
    expect(body.secret).toBeUndefined()
    expect(proxy.met).toBe(1)
    const { grant } = (await lastIntent()) ?? {}
    expect(await story(grant)).toEqual(['grant.intent'])
    if (weather === 'stall') expect(await world.leases('orders-ro')).toEqual([])
    else await until(async () => (await world.leases('orders-ro')).length === 1, 'the lost lease')

    proxy.set('pass')
    clock.shift(121_000)
    await until(async () => (await story(grant)).includes('grant.failed'), 'the mint is settled')
    expect(await world.leases('orders-ro')).toEqual([])
    const [failed] = await world.entries({ grant: String(grant), kind: 'grant.failed' })
    expect(failed).toMatchObject({ ambiguous: true })
    expect((await orphans()).length - before).toBe(weather === 'stall' ? 0 : 1)
  })
})

test('a lost mint is revoked by the next start, also when Vault comes back only after it', async () => {
  await world.api('POST', '/v1/revocations', { as: 'dana@security', body: { match: { all: true }, reason: 'start' } })
  proxy.only(isMint)
  proxy.set('cut')
  expect((await issue()).status).toBe(503)
  await until(async () => (await world.leases('orders-ro')).length === 1, 'the lost lease')
  proxy.only(() => true)
  proxy.set('refuse')
  await world.restart()
  expect((await world.api('GET', '/readyz')).status).toBe(503)
  expect((await issue()).body.code).toBe('vault_unavailable')
  expect(await world.leases('orders-ro')).toHaveLength(1)
  proxy.set('pass')
  await until(async () => (await world.api('GET', '/readyz')).status === 200, 'the broker is ready again')
  clock.shift(121_000)
  await until(async () => (await world.leases('orders-ro')).length === 0, 'the lost lease is revoked')
})

test('the switch does not wait for mints whose answer can no longer come, before a restart or after it', async () => {
  const { body: held } = await issue()
  proxy.only(isMint)
  proxy.set('cut')
  expect((await issue()).status).toBe(503)
  proxy.set('pass')
  const lost = String((await lastIntent())?.grant)
  const order = { match: { workload: 'checkout' }, reason: 'incident 8' }
  const pull = () => world.api('POST', '/v1/revocations', { as: 'dana@security', body: order })
  for (const round of ['before', 'after']) {
    // Well under the minute that a mint which is under way is waited for.
    const pulled = await Promise.race([
      pull(),
      new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 10_000)),
    ])
    expect(pulled?.status, round).toBe(202)
    expect(pulled?.body.grants).toContainEqual(expect.objectContaining({ grant: lost, outcome: 'pending' }))
    if (round === 'before') await world.restart()
  }
  expect(await world.login(held.secret)).toMatch(/^28/)
  clock.shift(121_000)
  await until(async () => (await story(lost)).includes('grant.failed'), 'the mint is settled')
  expect(await world.leases('orders-ro')).toEqual([])
})

test('a revocation that Vault misses is kept over a restart, and carried out when Vault is back', async () => {
  const { body } = await issue()
  proxy.only(isRevoke)
  proxy.set('refuse')
  const answer = await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
  expect(answer).toMatchObject({ status: 503, body: { code: 'vault_unavailable' } })
  const kept = await world.api('GET', `/v1/grants/${body.grant}`, { as: 'checkout' })
  expect(kept.body).toMatchObject({ status: 'ending', outcome: null })
  expect(await world.login(body.secret)).toBe('in')
  const renewal = await world.api('POST', `/v1/grants/${body.grant}/renew`, { as: 'checkout' })
  expect(renewal.body.code).toBe('state_conflict')

  await world.restart()
  proxy.set('pass')
  await until(async () => (await story(body.grant)).includes('grant.ended'), 'the revocation is carried out')
  expect(await world.login(body.secret)).toMatch(/^28/)
  const [ended] = await world.entries({ grant: body.grant, kind: 'grant.ended' })
  expect(ended).toMatchObject({ cause: 'handed_back', outcome: 'revoked' })
})

test('a revocation whose answer is lost is asked again, and ends once', async () => {
  const { body } = await issue()
  proxy.only(isRevoke)
  proxy.set('cut')
  const answer = world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
  await until(async () => proxy.met >= 1, 'the first try')
  proxy.set('pass')
  await answer
  await until(async () => (await story(body.grant)).includes('grant.ended'), 'it is ended')
  expect(await world.login(body.secret)).toMatch(/^28/)
  expect((await story(body.grant)).filter((kind) => kind === 'grant.ended')).toHaveLength(1)
})

test('a caller that hangs up while its credential is minted gets it ended as undelivered', async () => {
  proxy.only(isMint)
  proxy.set({ delayMs: 300 })
  const hangUp = new AbortController()
  const token = await world.token('checkout')
  const call = world.api('POST', '/v1/credentials', { token, body: { purpose: 'read-orders' }, signal: hangUp.signal })
  const gone = call.then(
    () => false,
    () => true,
  )
  await until(async () => proxy.met >= 1, 'the mint is under way')
  hangUp.abort()
  expect(await gone).toBe(true)
  const { grant } = (await lastIntent()) ?? {}
  await until(async () => (await story(grant)).includes('grant.ended'), 'it is ended')
  const [ended] = await world.entries({ grant: String(grant), kind: 'grant.ended' })
  expect(ended).toMatchObject({ cause: 'undelivered', outcome: 'revoked' })
  const [issued] = await world.entries({ grant: String(grant), kind: 'grant.issued' })
  const [user] = (issued?.ids ?? []) as { value: string }[]
  expect((await world.leases('orders-ro')).length).toBe((await liveGrants()).length)
  expect(user?.value).toMatch(/^v-/)
})

const liveGrants = async () =>
  (await world.api('GET', '/v1/grants?credential=orders-ro&limit=500', { as: 'dana@security' })).body.grants

describe.skipIf(!baoAvailable())('a real server that is sealed', () => {
  test('issues nothing, keeps revocations, and goes on once it is unsealed', async () => {
    const sealed = await startWorld({ vault: 'bao-raft' })
    try {
      const { bao } = sealed
      if (bao === undefined) throw new Error('no server')
      const { body } = await sealed.issue('checkout', { purpose: 'read-orders' })
      await sealed.root('PUT', 'sys/seal', {})
      const refused = await sealed.issue('checkout', { purpose: 'read-orders' })
      expect(refused).toMatchObject({ status: 503, body: { code: 'vault_unavailable' } })
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
      const readiness = async () => (await sealed.api('GET', '/readyz')).status
      await eventually(async () => ((await readiness()) === 503 ? true : undefined), 'it says that it cannot issue')
      expect((await sealed.api('GET', '/readyz')).body.vault).toMatchObject({
        ready: false,
        problem: 'Vault is sealed',
      })
      const kept = await sealed.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'checkout' })
      expect(kept).toMatchObject({ status: 503, body: { code: 'vault_unavailable' } })
      expect(await sealed.login(body.secret)).toBe('in')
      await vaultApi(bao.address, '')('PUT', 'sys/unseal', { key: bao.unsealKey })
      await eventually(
        async () => ((await sealed.login(body.secret)) === 'in' ? undefined : true),
        'the revocation',
        40_000,
      )
      await eventually(
        async () => ((await sealed.issue('checkout', { purpose: 'read-orders' })).status === 201 ? true : undefined),
        'issuing goes on',
        40_000,
      )
      await eventually(async () => ((await readiness()) === 200 ? true : undefined), 'it says so')
    } finally {
      await sealed.stop()
    }
  }, 90_000)
})
