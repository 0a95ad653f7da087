import { afterAll, beforeAll, expect, test } from 'vitest'
import { grantListSchema } from '../../src/contract/grant.ts'
import { entryListSchema, storedEntrySchema } from '../../src/contract/ledger.ts'
import { revocationSchema } from '../../src/contract/revocation.ts'
import { startWorld, type World } from '../support/broker.ts'

let world: World
beforeAll(async () => {
  world = await startWorld({
    async policies({ edit }) {
      await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 100'))
    },
  })
})
afterAll(() => world?.stop())

const hold = async (as: string, body: object): Promise<{ grant: string; secret: unknown }> => {
  const answer = await world.issue(as, body)
  expect(answer.status, answer.text).toBe(201)
  return answer.body
}
const pull = (as: string, match: object, dryRun = false) =>
  world.api('POST', '/v1/revocations', { as, body: { match, reason: 'incident 7', ...(dryRun && { dry_run: true }) } })

test('holder, owner, auditor and operator see a grant; to anybody else it is not there', async () => {
  const { grant } = await hold('checkout', { purpose: 'read-orders' })
  for (const as of ['checkout', 'alice@payments', 'dana@security']) {
    expect((await world.api('GET', `/v1/grants/${grant}`, { as })).status, as).toBe(200)
  }
  for (const as of ['nightly-report', 'carol@platform', 'erin@sre', 'coding-agent']) {
    const seen = await world.api('GET', `/v1/grants/${grant}`, { as })
    const absent = await world.api('GET', '/v1/grants/gr_00000000000000000000000000', { as })
    expect(seen, as).toMatchObject({ status: 404, body: { code: 'not_found' } })
    // Nothing tells what may not be seen from what is not there.
    expect({ ...seen.body, request_id: '' }).toEqual({ ...absent.body, request_id: '' })
    const revoke = await world.api('POST', `/v1/grants/${grant}/revoke`, { as })
    expect(revoke.status, as).toBe(404)
  }
})

test('a list holds what its caller may see, page by page', async () => {
  for (let i = 0; i < 5; i++) await hold('checkout', { purpose: 'read-orders' })
  await hold('nightly-report', { purpose: 'read-orders', credential: 'orders-ro' })
  const mine = await world.api('GET', '/v1/grants?limit=2', { as: 'nightly-report' })
  expect(grantListSchema.strict().safeParse(mine.body).error).toBeUndefined()
  expect(mine.body.grants).toMatchObject([{ workload: 'nightly-report', status: 'active' }])
  expect((await world.api('GET', '/v1/grants', { as: 'carol@platform' })).body.grants).toEqual([])

  const seen = new Set<string>()
  let after = ''
  for (let pages = 0; pages < 20; pages++) {
    const { body } = await world.api('GET', `/v1/grants?owner=payments&limit=2${after}`, { as: 'alice@payments' })
    for (const { grant } of body.grants) seen.add(grant)
    if (body.next === null) break
    after = `&after=${body.next}`
  }
  const whole = await world.api('GET', '/v1/grants?owner=payments&limit=500', { as: 'dana@security' })
  expect([...seen].sort()).toEqual(whole.body.grants.map(({ grant }) => grant).sort())
  expect(seen.size).toBeGreaterThanOrEqual(6)
  const wrong = await world.api('GET', '/v1/grants?colour=blue', { as: 'alice@payments' })
  expect(wrong).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
})

test('the switch first says what it would end, then ends it for real and says how each went', async () => {
  const held = [
    await hold('checkout', { purpose: 'read-orders' }),
    await hold('checkout', { purpose: 'read-orders' }),
    await hold('checkout-staging', { purpose: 'try-changes' }),
  ] as const
  const dry = await pull('dana@security', { workload: 'checkout' }, true)
  expect(dry.body).toMatchObject({ dry_run: true })
  expect(dry.body.grants.map(({ grant }) => grant)).toEqual(expect.arrayContaining([held[0].grant, held[1].grant]))
  expect(dry.body.matched).toBeGreaterThanOrEqual(2)
  expect(await world.login(held[0].secret)).toBe('in')

  const done = await pull('dana@security', { workload: 'checkout' })
  expect(revocationSchema.strict().safeParse(done.body).error).toBeUndefined()
  expect(done.body.matched).toBe(dry.body.matched)
  expect(done.body.grants.every(({ outcome }) => outcome === 'revoked')).toBe(true)
  expect(await world.login(held[0].secret)).toMatch(/^28/)
  expect(await world.login(held[1].secret)).toMatch(/^28/)
  expect(await world.login(held[2].secret)).toBe('in')
  const [ended] = await world.entries({ grant: held[0].grant, kind: 'grant.ended' })
  expect(ended).toMatchObject({ cause: 'kill_switch', actor: { type: 'person', subject: 'dana@security' } })
  const [ending] = await world.entries({ grant: held[0].grant, kind: 'grant.ending' })
  expect(ending).toMatchObject({ reason: 'incident 7' })
})

test('an owner ends what is theirs and nothing else; others may not touch the switch', async () => {
  const { grant, secret } = await hold('checkout', { purpose: 'read-orders' })
  for (const as of ['carol@platform', 'erin@sre', 'checkout', 'coding-agent']) {
    expect(await pull(as, { workload: 'checkout' }), as).toMatchObject({ status: 403, body: { code: 'role_required' } })
  }
  expect(await pull('carol@platform', { all: true })).toMatchObject({ status: 403 })
  expect(await world.login(secret)).toBe('in')
  const own = await pull('alice@payments', { credential: 'orders-ro' })
  expect(own.body.grants.map((each) => each.grant)).toContain(grant)
  expect(await world.login(secret)).toMatch(/^28/)
})

test('every thing that can be matched is matched, and one at a time', async () => {
  const { body } = await world.api('POST', '/v1/tasks', {
    as: 'coding-agent',
    body: { purpose: 'fix-bug', intent: 'a look' },
  })
  const matches = [
    // First: the others end the task as well.
    [{ task: body.task }, () => hold('coding-agent', { purpose: 'fix-bug', task: body.task })],
    [{ issuer: 'cluster-eu' }, () => hold('checkout', { purpose: 'read-orders' })],
    [{ purpose: 'try-changes' }, () => hold('checkout-staging', { purpose: 'try-changes' })],
    [{ owner: 'payments' }, () => hold('checkout', { purpose: 'read-orders' })],
    [{ all: true }, () => hold('checkout', { purpose: 'read-orders' })],
  ] as const
  for (const [match, open] of matches) {
    const { grant, secret } = await open()
    const answer = await pull('dana@security', match)
    expect(
      answer.body.grants.map((each) => each.grant),
      JSON.stringify(match),
    ).toContain(grant)
    expect(await world.login(secret)).toMatch(/^28/)
  }
  for (const match of [{}, { all: true, workload: 'checkout' }, { all: false }, { colour: 'blue' }]) {
    expect(await pull('dana@security', match)).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
  }
  expect((await pull('dana@security', { all: true })).body.matched).toBe(0)
})

test('auditors read every entry, owners theirs, workloads none', async () => {
  await hold('shop-deploy', { purpose: 'deploy', params: { public_key: sshKey } })
  const page = await world.api('GET', '/v1/ledger/entries?limit=1000', { as: 'dana@security' })
  expect(entryListSchema.strict().safeParse(page.body).error).toBeUndefined()
  const indexes = page.body.entries.map(({ index }) => index)
  expect(indexes).toEqual(indexes.map((_, position) => position))
  const kinds = new Set(page.body.entries.map(({ entry }) => entry.kind))
  expect(kinds).toContain('broker.started')
  expect(kinds).toContain('policy.loaded')

  for (const [as, team] of [
    ['alice@payments', 'payments'],
    ['carol@platform', 'platform'],
  ] as const) {
    const { body } = await world.api('GET', '/v1/ledger/entries?limit=1000', { as })
    const owners = new Set(body.entries.map(({ entry }) => entry.owner))
    expect([...owners]).toEqual([team])
    const foreign = page.body.entries.find(({ entry }) => entry.owner !== team)
    const one = await world.api('GET', `/v1/ledger/entries/${foreign?.index}`, { as })
    expect(one).toMatchObject({ status: 404, body: { code: 'not_found' } })
    const own = page.body.entries.find(({ entry }) => entry.owner === team)
    const read = await world.api('GET', `/v1/ledger/entries/${own?.index}`, { as })
    expect(storedEntrySchema.strict().safeParse(read.body).error).toBeUndefined()
    expect(read.body).toEqual(own)
  }
  for (const as of ['checkout', 'coding-agent']) {
    const answer = await world.api('GET', '/v1/ledger/entries', { as })
    expect(answer, as).toMatchObject({ status: 403, body: { code: 'role_required' } })
    expect((await world.api('GET', '/v1/ledger/entries/0', { as })).status).toBeGreaterThanOrEqual(403)
  }
})

const sshKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1V2u5cYb1bXxS9mVf2tqg4ZkHhT0e9jW8q0sPq6m1A'

test('a filter finds what it names, by time and by page too', async () => {
  const fromText = new Date().toISOString()
  const { grant } = await hold('checkout', { purpose: 'read-orders' })
  const found = await world.entries({ grant })
  expect(found.map(({ kind }) => kind)).toEqual(['grant.intent', 'grant.issued'])
  const since = await world.entries({ from: fromText, workload: 'checkout', kind: 'grant.issued' })
  expect(since).toMatchObject([{ grant }])
  expect(await world.entries({ to: fromText, grant })).toEqual([])
  const two = await world.api('GET', `/v1/ledger/entries?grant=${grant}&limit=1`, { as: 'dana@security' })
  const rest = await world.api('GET', `/v1/ledger/entries?grant=${grant}&after=${two.body.next}`, {
    as: 'dana@security',
  })
  expect([...two.body.entries, ...rest.body.entries].map(({ entry }) => entry.kind)).toEqual([
    'grant.intent',
    'grant.issued',
  ])
})
