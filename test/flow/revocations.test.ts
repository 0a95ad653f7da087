import { afterAll, beforeAll, expect, test } from 'vitest'
import { grantListSchema } from '../../src/contract/grant.ts'
import { revocationReportSchema } from '../../src/contract/report.ts'
import { revocationListSchema, revocationPreviewSchema, revocationSchema } from '../../src/contract/revocation.ts'
import { startWorld, type World } from '../support/broker.ts'
import type { Answer } from '../support/call-api.ts'
import { eventually } from '../support/child.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'

let world: World
let proxy: TcpProxy
beforeAll(async () => {
  world = await startWorld({
    async policies({ edit }) {
      await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 500'))
    },
    config: (config) => ({ ...config, vault: { ...config.vault, address: proxy.url } }),
    prepare: async (stack) => {
      proxy = await startProxy(stack.vault.address)
    },
  })
})
afterAll(async () => {
  proxy?.set('pass')
  await world?.stop()
  await proxy?.stop()
})

const order = (as: string, body: object): Promise<Answer> =>
  world.api('POST', '/v1/revocations', { as, body: { reason: 'incident 11', ...body } })
const read = async (id: unknown, as = 'dana@security'): Promise<Answer> =>
  world.api('GET', `/v1/revocations/${id}`, { as })
const hold = async (as = 'checkout', body: object = { purpose: 'read-orders' }) => {
  const answer = await world.issue(as, body)
  expect(answer.status, answer.text).toBe(201)
  return answer.body
}
const metric = async (name: string): Promise<number> => {
  const { text } = await world.api('GET', '/metrics')
  const line = text.split('\n').find((each) => each.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1))
}
const completed = (id: unknown): Promise<true> =>
  eventually(async () => ((await read(id)).body.status === 'completed' ? true : undefined), 'the order is completed')
const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1V2u5cYb1bXxS9mVf2tqg4ZkHhT0e9jW8q0sPq6m1A'

test('an order is looked at first, then carried out, and everything it did is found under its id', async () => {
  const held = [await hold(), await hold(), await hold()]
  const preview = await order('dana@security', { match: { workload: 'checkout' }, dry_run: true })
  expect(revocationPreviewSchema.strict().parse(preview.body)).toMatchObject({ matched: 3, revocable: 3 })
  expect(await world.entries({ kind: 'revocation.ordered' })).toEqual([])

  const { status, body } = await order('dana@security', { match: { workload: 'checkout' } })
  expect(status).toBe(200)
  expect(revocationSchema.strict().parse(body)).toMatchObject({
    status: 'completed',
    matched: 3,
    done: 3,
    outcomes: { revoked: 3 },
    hold: { holding: false, until: null },
  })
  for (const { secret } of held) expect(await world.login(secret)).toMatch(/^28/)
  expect((await read(body.revocation)).body).toEqual(body)
  const entries = await world.entries({ revocation: String(body.revocation) })
  expect(Map.groupBy(entries, ({ kind }) => kind).size).toBe(4)
  expect(entries.filter(({ kind }) => kind === 'grant.ended')).toHaveLength(3)
  expect(entries.find(({ kind }) => kind === 'grant.ended')).toMatchObject({ engine: 'database' })
  await hold()
})

test('a hold keeps issuance and renewal away after it, over a restart, until an operator lifts it', async () => {
  const before = await hold()
  const other = await hold('nightly-report', { purpose: 'read-orders', credential: 'orders-ro' })
  const { body } = await order('alice@payments', { match: { workload: 'checkout' }, hold: '1h' })
  expect(body).toMatchObject({ status: 'completed', teams: ['payments'], hold: { holding: true, seconds: 3600 } })
  expect(await world.login(before.secret)).toMatch(/^28/)
  for (const round of ['before', 'after']) {
    const refused = await world.issue('checkout', { purpose: 'read-orders' })
    expect(refused, round).toMatchObject({ status: 403, body: { code: 'issuance_held' } })
    expect((await read(body.revocation)).body).toMatchObject({ hold: { holding: true }, matched: body.matched })
    expect(await metric('writ_revocation_orders_holding')).toBe(1)
    if (round === 'before') await world.restart()
  }
  const [denied] = await world.entries({ code: 'issuance_held' })
  expect(denied).toMatchObject({ workload: 'checkout', rules: [{ detail: `held by ${body.revocation}` }] })
  expect(await world.login(other.secret)).toBe('in')

  const lift = (as: string) =>
    world.api('POST', `/v1/revocations/${body.revocation}/lift`, { as, body: { reason: 'rebuilt' } })
  expect((await lift('carol@platform')).status).toBe(404)
  expect((await lift('checkout')).status).toBe(404)
  expect((await lift('dana@security')).body).toMatchObject({ hold: { holding: false, lifted_at: expect.any(String) } })
  expect(await lift('dana@security')).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
  await hold()
  await world.restart()
  await hold()
  expect(await world.entries({ kind: 'revocation.lifted' })).toMatchObject([{ reason: 'rebuilt', owner: 'payments' }])
})

test('who sees orders: operators and auditors all of them, owners what reaches theirs, others none', async () => {
  const own = await order('carol@platform', { match: { owner: 'platform' } })
  expect(own.status, own.text).toBe(200)
  const wide = await order('dana@security', { match: { purpose: 'no-such-purpose' }, hold: '10s' })
  const seen = async (as: string): Promise<string[]> => {
    const { status, body } = await world.api('GET', '/v1/revocations', { as })
    expect(status).toBe(200)
    return revocationListSchema
      .strict()
      .parse(body)
      .revocations.map(({ revocation }) => revocation)
  }
  expect(await seen('dana@security')).toEqual(expect.arrayContaining([own.body.revocation, wide.body.revocation]))
  expect(await seen('carol@platform')).toEqual([own.body.revocation])
  expect(await seen('erin@sre')).toEqual([])
  expect(await seen('checkout')).toEqual([])
  const foreign = await world.api('POST', `/v1/revocations/${wide.body.revocation}/lift`, { as: 'carol@platform' })
  expect(foreign.status).toBe(404)
  expect((await read(own.body.revocation, 'erin@sre')).status).toBe(404)
})

test('while Vault is away the order is kept and issuance held; it is carried out within seconds of its return', async () => {
  const held = await Promise.all(Array.from({ length: 30 }, () => hold()))
  proxy.set('refuse')
  const { status, body, headers } = await order('dana@security', { match: { workload: 'checkout' }, wait: '1m' })
  expect(status, JSON.stringify(body)).toBe(202)
  expect(headers.get('location')).toBe(`/v1/revocations/${body.revocation}`)
  expect(body).toMatchObject({ status: 'open', tried: true, done: 0, hold: { holding: true } })
  expect(new Set(body.grants.map(({ outcome }) => outcome))).toEqual(new Set(['pending']))
  expect(await metric('writ_grants_unrevoked')).toBeGreaterThanOrEqual(held.length)
  expect(await metric('writ_revocation_orders_open')).toBe(1)
  expect((await world.issue('checkout', { purpose: 'read-orders' })).body.code).toBe('issuance_held')
  const elsewhere = await world.issue('nightly-report', { purpose: 'read-orders', credential: 'orders-ro' })
  expect(elsewhere).toMatchObject({ status: 503, body: { code: 'vault_unavailable' } })

  await world.restart()
  expect((await world.issue('checkout', { purpose: 'read-orders' })).body.code).toBe('issuance_held')
  proxy.set('pass')
  await completed(body.revocation)
  for (const { secret } of held) expect(await world.login(secret)).toMatch(/^28/)
  expect(await metric('writ_grants_unrevoked')).toBe(0)
  const [done] = await world.entries({ revocation: String(body.revocation), kind: 'revocation.completed' })
  expect(done).toMatchObject({ grants: body.matched })
  await hold()
})

test('a secret that nothing can end is said to work on, is counted, and is listed until it expires', async () => {
  const { grant, expires_at } = await hold('shop-deploy', { purpose: 'deploy', params: { public_key: publicKey } })
  const { body } = await order('dana@security', { match: { workload: 'shop-deploy' } })
  expect(body).toMatchObject({ status: 'completed', outcomes: { expires_only: 1 } })
  expect(body.grants).toMatchObject([{ grant, outcome: 'expires_only', works_until: expires_at }])
  for (const round of ['before', 'after']) {
    expect(await metric('writ_grants_expires_only_unexpired'), round).toBe(1)
    const listed = await world.api('GET', '/v1/grants?status=expires_only', { as: 'dana@security' })
    const { grants } = grantListSchema.strict().parse(listed.body)
    expect(grants).toMatchObject([
      { grant, outcome: 'expires_only', works_until: expires_at, revocation: body.revocation },
    ])
    if (round === 'before') await world.restart()
  }
})

test('the report says how fast secrets ended, by engine and cause, to auditors of all and to owners of theirs', async () => {
  const report = async (as: string, query = '') => world.api('GET', `/v1/reports/revocation${query}`, { as })
  const { status, body } = await report('dana@security')
  expect(status).toBe(200)
  const { rows, now } = revocationReportSchema.strict().parse(body)
  const ended = (await world.entries({ kind: 'grant.ended' })).filter(({ grant }) => grant !== undefined)
  expect(rows.reduce((sum, row) => sum + row.ended, 0)).toBe(ended.length)
  const database = rows.find(({ engine, cause }) => engine === 'database' && cause === 'kill_switch')
  const latencies = ended
    .filter(({ cause, engine }) => cause === 'kill_switch' && engine === 'database')
    .map(({ latency_ms }) => Number(latency_ms))
  expect(database).toMatchObject({ ended: latencies.length, revoked: latencies.length, max_ms: Math.max(...latencies) })
  const again = ended.filter(({ attempts, engine }) => engine === 'database' && Number(attempts) > 1)
  expect(database?.retried).toBe(again.length)
  expect(rows.find(({ engine }) => engine === 'ssh')).toMatchObject({ expires_only: 1, revoked: 0, p50_ms: null })
  expect(now).toEqual({ unrevoked: 0, irrevocable: 0, expires_only: 1 })

  expect((await report('carol@platform')).body.rows).toMatchObject([{ engine: 'ssh' }])
  expect((await report('erin@sre')).body.rows).toEqual([])
  const theirs = revocationReportSchema.parse((await report('alice@payments')).body)
  expect(theirs.rows.map(({ engine }) => engine)).toContain('database')
  expect((await report('dana@security', '?to=2020-01-01T00:00:00.000Z')).body.rows).toEqual([])
  expect((await report('checkout')).status).toBe(403)
  expect((await report('dana@security', '?from=yesterday')).status).toBe(400)
})

test('what is not an order is refused, and nothing is held', async () => {
  for (const wrong of [
    { match: { workload: 'checkout' }, hold: 'forever' },
    { match: {} },
    { match: { all: true }, wait: 5 },
  ]) {
    expect(await order('dana@security', wrong)).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
  }
  expect(await order('erin@sre', { match: { workload: 'checkout' }, hold: '1h' })).toMatchObject({ status: 403 })
  expect((await read('rev_00000000000000000000000000')).status).toBe(404)
  await hold()
})
