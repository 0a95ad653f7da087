import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { issuedSetSchema } from '../../src/contract/credential.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import { databaseUsers } from '../support/database-users.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'

let world: World
let proxy: TcpProxy
beforeAll(async () => {
  world = await startWorld({
    policies: ({ write }) => write('workloads/migrator.yaml', migrator),
    async prepare({ vault }) {
      proxy = await startProxy(vault.address)
    },
    config: (config) => ({ ...config, vault: { ...config.vault, address: proxy.url } }),
  })
})
afterAll(async () => {
  await world?.stop()
  await proxy?.stop()
})

const purpose = (id: string, rest: string) => `
  - id: ${id}
    because: Move the orders to their new tables
    environment: prod
    ttl: { default: 10m, max: 1h }
    renewable: true
${rest.replace(/^/gm, '    ')}`

const migrator = `
kind: Workload
name: migrator
type: service
system: orders
owner: payments
backup: platform
custodian: sre
status: active
signoff: { by: alice@payments, on: 2026-11-02 }
match: { issuer: cluster-eu, claims: { sub: "system:serviceaccount:orders:migrator" } }
purposes:${[
  purpose('migrate', 'credentials: [orders-ro, internal-tls, deploy-ssh]\nlimits: { active: 50, per_minute: 1000 }'),
  purpose('narrow', 'credentials: [orders-ro, internal-tls]\nlimits: { active: 3, per_minute: 1000 }'),
  purpose('rare', 'credentials: [orders-ro, internal-tls]\nlimits: { active: 50, per_minute: 3 }'),
  purpose('rewrite', 'credentials: [orders-rw, internal-tls]\nlimits: { active: 50, per_minute: 1000 }'),
  purpose('by-task', 'credentials: [orders-ro, internal-tls]\ntask: { required: true, grants: 3 }'),
].join('')}
`

const pair = ['orders-ro', 'internal-tls']
const ask = (body: object = {}, idempotencyKey?: string) =>
  world.api('POST', '/v1/credentials', {
    as: 'migrator',
    body: { purpose: 'migrate', credential: pair, ...body },
    ...(idempotencyKey && { headers: { 'idempotency-key': idempotencyKey } }),
  })
const issued = async (body?: object) => {
  const answer = await ask(body)
  expect(answer.status, answer.text).toBe(201)
  return issuedSetSchema.strict().parse(answer.body)
}
const live = async (of: string) =>
  (await world.api('GET', `/v1/grants?status=live&purpose=${of}`, { as: 'migrator' })).body.grants
const handBack = async ({ credentials }: { credentials: readonly { grant: string }[] }): Promise<void> => {
  for (const { grant } of credentials) {
    expect((await world.api('POST', `/v1/grants/${grant}/revoke`, { as: 'migrator' })).status).toBe(200)
  }
}
const users = (): Promise<readonly string[]> => databaseUsers(world.stack.postgres.url)
const lastSet = async (): Promise<readonly Record<string, unknown>[]> => {
  const composite = (await world.entries({ kind: 'grant.intent' })).at(-1)?.composite
  return world.entries({ composite: String(composite) })
}

describe('several credentials in one request', () => {
  test('come in the order asked for, each with a grant, a lease and entries of its own, found together by the set', async () => {
    const set = await issued({ ttl: '5m', receipt: 'wait' })
    const [database, tls] = set.credentials
    expect(set.credentials.map(({ credential }) => credential)).toEqual(pair)
    expect(await world.login(database?.secret)).toBe('in')
    expect(tls?.secret.certificate).toMatch(/^-----BEGIN CERTIFICATE-----/)
    for (const { ledger } of set.credentials) expect(ledger.proof).toMatch(/^c2sp.org\/tlog-proof@v1/)

    const entries = await world.entries({ composite: set.composite })
    expect(entries.map(({ kind }) => kind)).toEqual([
      'grant.intent',
      'grant.intent',
      'grant.issued',
      'grant.issued',
      'composite.issued',
    ])
    expect(entries.at(-1)).toMatchObject({ parts: set.credentials.map(({ grant }) => grant), workload: 'migrator' })

    const renewed = await world.api('POST', `/v1/grants/${database?.grant}/renew`, {
      as: 'migrator',
      body: { ttl: '20m' },
    })
    expect(renewed.status).toBe(200)
    await world.api('POST', `/v1/grants/${database?.grant}/revoke`, { as: 'migrator' })
    expect(await world.login(database?.secret)).toMatch(/^28/)
    expect(await live('migrate')).toMatchObject([{ grant: tls?.grant }])
    expect((await world.entries({ composite: set.composite })).map(({ kind }) => kind)).toContain('grant.ended')
  })

  test('live on over a restart when all were issued, also when one of them ended before', async () => {
    const before = await live('migrate')
    expect(before).toHaveLength(1)
    const set = await issued()
    await world.restart()
    expect(await live('migrate')).toHaveLength(3)
    expect(await world.login(set.credentials[0]?.secret)).toBe('in')
    await handBack({ credentials: [...before, ...set.credentials] })
  })

  test('are 2 to 10, each once', async () => {
    const eleven = Array.from({ length: 11 }, (_, at) => `c-${at}`)
    for (const credential of [[], ['orders-ro'], ['orders-ro', 'orders-ro'], eleven]) {
      const answer = await ask({ credential })
      expect(answer, JSON.stringify(credential)).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
    }
  })

  test('get the parameters that each takes, and a parameter that none takes is refused', async () => {
    const answer = await ask({ params: { unheard_of: 'x' } })
    expect(answer).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
    const missing = await ask({ credential: ['orders-ro', 'deploy-ssh'] })
    expect(missing.body.reasons).toEqual(['params.public_key', 'credential deploy-ssh'])
    expect((await live('migrate')).length).toBe(0)
  })

  test('are all refused when one is: the answer names it, and the record has an entry for each that was denied', async () => {
    const intents = (await world.entries({ kind: 'grant.intent' })).length
    const denials = await world.entries({ kind: 'request.denied' })
    const answer = await ask({ credential: ['vendor-api-key', 'orders-ro', 'orders-rw'] })
    expect(answer).toMatchObject({ status: 403, body: { code: 'credential_not_in_purpose' } })
    expect(answer.body.reasons).toEqual(['credential', 'credential vendor-api-key'])
    const more = (await world.entries({ kind: 'request.denied' })).slice(denials.length)
    expect(more.map(({ credential }) => credential)).toEqual(['vendor-api-key', 'orders-rw'])
    expect(await world.entries({ kind: 'grant.intent' })).toHaveLength(intents)
  })
})

describe('limits', () => {
  test('hold for sets at once: none gets in by half, and none beyond the limit', async () => {
    for (let round = 0; round < 3; round++) {
      const answers = await Promise.all(Array.from({ length: 6 }, () => ask({ purpose: 'narrow' })))
      const won = answers.filter(({ status }) => status === 201)
      expect(won).toHaveLength(1)
      for (const { status, body } of answers) if (status !== 201) expect(body.code).toBe('limit_reached')
      expect(await live('narrow')).toHaveLength(2)
      // A single one has the place that is left.
      const single = await ask({ purpose: 'narrow', credential: 'orders-ro' })
      expect(single.status).toBe(201)
      await handBack({
        credentials: [...won.flatMap(({ body }) => issuedSetSchema.parse(body).credentials), single.body],
      })
    }
  })

  test('of a minute and of a task count each credential', async () => {
    const first = await issued({ purpose: 'rare' })
    expect(await ask({ purpose: 'rare' })).toMatchObject({ status: 429, body: { code: 'limit_reached' } })
    expect((await ask({ purpose: 'rare', credential: 'orders-ro' })).status).toBe(201)
    await handBack(first)
    const opened = await world.api('POST', '/v1/tasks', {
      as: 'migrator',
      body: { purpose: 'by-task', intent: 'move' },
    })
    const { task } = opened.body
    await issued({ purpose: 'by-task', task })
    const beyond = await ask({ purpose: 'by-task', task })
    expect(beyond.body.reasons).toEqual(['task.grants', 'credential internal-tls'])
    const intents = (await lastSet()).filter(({ kind }) => kind === 'grant.intent')
    expect(intents.map((entry) => entry.task_grant)).toEqual([1, 2])
    await world.api('POST', `/v1/tasks/${task}/end`, { as: 'migrator', body: {} })
    expect(await live('by-task')).toEqual([])
  })
})

describe('when one cannot be had', () => {
  test('what was minted before it is revoked before the answer, and the answer is the fault', async () => {
    const role = (await world.root('GET', 'pki/roles/internal-tls')).body as { data: object }
    await world.root('DELETE', 'pki/roles/internal-tls')
    const before = await users()
    // Vault's no comes late, when the database user is there already.
    proxy.only((head) => head.includes('/v1/pki/issue/'))
    proxy.set({ delayMs: 1_000 })
    const answer = ask()
    await eventually(async () => ((await users()).length > before.length ? true : undefined), 'the first is minted')
    expect(await answer).toMatchObject({ status: 502, body: { code: 'engine_refused' } })
    proxy.set('pass')
    expect(await users()).toEqual(before)
    expect(await live('migrate')).toEqual([])

    const entries = await lastSet()
    expect(entries.filter(({ credential }) => credential === 'orders-ro').map(({ kind }) => kind)).toEqual([
      'grant.intent',
      'grant.issued',
      'grant.ending',
      'grant.ended',
    ])
    expect(entries.filter(({ credential }) => credential === 'internal-tls').map(({ kind }) => kind)).toEqual([
      'grant.intent',
      'grant.failed',
    ])
    expect(entries.at(-1)).toMatchObject({ kind: 'grant.ended', cause: 'issuance_failed', outcome: 'revoked' })
    await world.root('POST', 'pki/roles/internal-tls', role.data)
    await handBack(await issued())
  })

  test('what cannot be revoked now is left to the sweep, and ends as soon as Vault takes it', async () => {
    const role = (await world.root('GET', 'pki/roles/internal-tls')).body as { data: object }
    await world.root('DELETE', 'pki/roles/internal-tls')
    const before = await users()
    proxy.only((head) => head.includes('/v1/sys/leases/revoke'))
    proxy.set('cut')
    // The lease goes and the answer with it: what counts is that nobody takes it for ended.
    expect(await ask()).toMatchObject({ status: 502, body: { code: 'engine_refused' } })
    expect(proxy.met).toBeGreaterThan(0)
    expect(await live('migrate')).toMatchObject([{ status: 'ending', credential: 'orders-ro' }])
    proxy.set('pass')
    await eventually(async () => ((await live('migrate')).length === 0 ? true : undefined), 'the sweep ends it')
    expect(await users()).toEqual(before)
    await world.root('POST', 'pki/roles/internal-tls', role.data)
  })

  test('one that is ended while the other is minted takes that with it', async () => {
    proxy.only((head) => head.includes('/v1/pki/issue/'))
    proxy.set({ delayMs: 1_000 })
    const answer = ask()
    const first = await eventually(
      async () => (await live('migrate')).find((one) => 'status' in one && one.status === 'active'),
      'the first is issued',
    )
    expect((await world.api('POST', `/v1/grants/${first.grant}/revoke`, { as: 'migrator' })).status).toBe(200)
    expect(await answer).toMatchObject({ status: 409, body: { code: 'state_conflict' } })
    proxy.set('pass')
    expect(await live('migrate')).toEqual([])
    expect((await lastSet()).map(({ kind }) => kind)).not.toContain('composite.issued')
  })
})

test('an answer that cannot be delivered ends all of them', async () => {
  const token = await world.token('migrator')
  const { hostname, port } = new URL(world.url)
  const body = JSON.stringify({ purpose: 'migrate', credential: pair })
  const head = [
    'POST /v1/credentials HTTP/1.1',
    `Host: ${hostname}`,
    `Authorization: Bearer ${token}`,
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
  ]
  const before = (await world.entries({ kind: 'grant.intent' })).length
  proxy.only((text) => text.includes('/v1/pki/issue/'))
  proxy.set({ delayMs: 500 })
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  socket.write(`${head.join('\r\n')}\r\n\r\n${body}`)
  await eventually(
    async () => ((await world.entries({ kind: 'grant.intent' })).length > before ? true : undefined),
    'the intents are on record',
  )
  socket.destroy()
  const ends = async () => (await lastSet()).filter(({ kind }) => kind === 'grant.ended')
  await eventually(async () => ((await ends()).length === 2 ? true : undefined), 'both have ended')
  expect((await ends()).map(({ cause }) => cause)).toEqual(['undelivered', 'undelivered'])
  proxy.set('pass')
})

test('a retry with the same Idempotency-Key replaces every grant of the set', async () => {
  const first = issuedSetSchema.parse((await ask({}, 'again')).body)
  const second = issuedSetSchema.parse((await ask({}, 'again')).body)
  expect(await world.login(first.credentials[0]?.secret)).toMatch(/^28/)
  expect(await world.login(second.credentials[0]?.secret)).toBe('in')
  expect(await live('migrate')).toHaveLength(2)
  const intents = (await lastSet()).filter(({ kind }) => kind === 'grant.intent')
  expect(intents.map(({ replaces }) => replaces)).toEqual(first.credentials.map(({ grant }) => grant))
  const other = await ask({ credential: pair.toReversed() }, 'again')
  expect(other).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
  await handBack(second)
})

test('one approval stands for exactly that set, and is spent on all of it', async () => {
  const wanted = { purpose: 'rewrite', credential: ['internal-tls', 'orders-rw'], reason: 'ticket 4711' }
  const pending = await ask(wanted)
  expect(pending.status).toBe(202)
  const { approval } = pending.body
  const view = await world.api('GET', `/v1/approvals/${approval}`, { as: 'alice@payments' })
  expect(view.body.credential).toEqual(wanted.credential)
  const yes = { as: 'alice@payments', body: { reason: 'yes' } }
  expect((await world.api('POST', `/v1/approvals/${approval}/approve`, yes)).status).toBe(200)
  for (const credential of ['orders-rw', wanted.credential.toReversed()]) {
    const { body } = await ask({ ...wanted, credential, approval })
    expect(body.code, String(credential)).toBe('approval_denied')
  }
  const set = await issued({ ...wanted, approval })
  const intents = (await lastSet()).filter(({ kind }) => kind === 'grant.intent')
  expect(intents).toMatchObject([{ approval }, { approval }])
  const [requested] = await world.entries({ approval, kind: 'approval.requested' })
  expect(requested).toMatchObject({ credentials: wanted.credential })
  expect(await ask({ ...wanted, approval })).toMatchObject({ status: 403, body: { code: 'approval_denied' } })
  await handBack(set)
})

test('the ledger of all this verifies', async () => {
  const { dir, vkey } = world.ledger
  await world.stopBroker()
  expect(await verifyLedger({ dir, vkey })).toMatchObject({ ok: true })
})
