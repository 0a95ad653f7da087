import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type SetError, setErrorSchema, setMediaType, signalPath } from '../../src/contract/signal.ts'
import type { SignalOrder } from '../../src/dev/set.ts'
import { baoAvailable } from '../support/bao.ts'
import { shiftedClock, startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'

const minuteMs = 60_000
const clock = shiftedClock()

/** Sends a SET as a transmitter does; `202`, or the error of RFC 8935 section 2.4. */
async function push(world: World, set: string, type = setMediaType): Promise<'202' | SetError['err']> {
  const response = await fetch(`${world.url}${signalPath}`, {
    method: 'POST',
    headers: { 'content-type': type, accept: 'application/json' },
    body: set,
  })
  const text = await response.text()
  if (response.status === 202) {
    expect(text).toBe('')
    return '202'
  }
  expect(response.status, text).toBe(400)
  expect(response.headers.get('content-type')).toBe('application/json')
  return setErrorSchema.parse(JSON.parse(text)).err
}
const signal = async (world: World, order: SignalOrder): Promise<string> =>
  push(world, await world.stack.issuer.signal(order))

/** Leaves the second of what came before: times in tokens and events are whole seconds. */
const nextSecond = (): void => clock.shift(1_500)
const hold = async (world: World, as: string, body: object = { purpose: 'read-orders' }) => {
  const answer = await world.issue(as, body)
  expect(answer.status, answer.text).toBe(201)
  return answer.body
}
const ended = (world: World, grant: string) =>
  eventually(async () => {
    const [entry] = await world.entries({ grant, kind: 'grant.ended' })
    return entry
  }, `${grant} ends`)
const signals = (world: World) => world.entries({ kind: 'signal.received' })
const openFindings = async (world: World) => {
  const open = new Map<string, Readonly<Record<string, unknown>>>()
  for (const entry of await world.entries({ kind: 'finding.opened' })) open.set(String(entry.finding), entry)
  for (const entry of await world.entries({ kind: 'finding.closed' })) open.delete(String(entry.finding))
  return open
}
const setOf = (over: object = {}, event: object = {}): Record<string, unknown> => ({
  iss: 'https://signals.example.com',
  aud: 'https://writ.example.com',
  iat: Math.floor(clock.now() / 1000),
  jti: randomUUID(),
  sub_id: { format: 'iss_sub', iss: 'https://kubernetes.default.svc', sub: 'system:serviceaccount:orders:checkout' },
  events: { 'https://schemas.openid.net/secevent/caep/event-type/session-revoked': event },
  ...over,
})

for (const vault of ['embedded', 'bao-raft'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`signals over ${vault}`, () => {
    let world: World
    beforeAll(async () => {
      world = await startWorld({
        vault,
        clock,
        async policies({ edit }) {
          await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 40'))
          await edit('teams/payments.yaml', (text) => `${text}leavers: { grace: 30m }\n`)
        },
      })
    })
    afterAll(() => world?.stop())

    test('session-revoked ends what the workload held before it, and spares the others and what comes after', async () => {
      const old = await world.token('checkout')
      const mine = await hold(world, 'checkout')
      const spared = await hold(world, 'nightly-report', { purpose: 'read-orders', credential: 'orders-ro' })
      expect(await world.login(mine.secret)).toBe('in')
      nextSecond()
      expect(await signal(world, { event: 'session-revoked', subject: 'checkout' })).toBe('202')
      expect(await ended(world, mine.grant)).toMatchObject({ cause: 'signal', outcome: 'revoked' })
      expect(await world.login(mine.secret)).toMatch(/^28/)
      expect(await world.login(spared.secret)).toBe('in')
      const late = await world.api('POST', '/v1/credentials', { token: old, body: { purpose: 'read-orders' } })
      expect(late).toMatchObject({ status: 401, body: { code: 'session_revoked' } })
      const fresh = await hold(world, 'checkout')
      expect(await world.login(fresh.secret)).toBe('in')
      expect((await signals(world)).at(-1)).toMatchObject({
        source: 'trust-signals',
        signal: 'session-revoked',
        effect: 'ended',
        matched: 1,
        issuer: 'cluster-eu',
        subject: 'system:serviceaccount:orders:checkout',
      })
    })

    test('what is replayed, unsigned, stale, of the future or from nobody is refused, recorded, and ends nothing', async () => {
      const held = await hold(world, 'checkout')
      const before = (await signals(world)).length
      const set = await world.stack.issuer.signal({ event: 'verification' })
      expect(await push(world, set)).toBe('202')
      expect(await push(world, set)).toBe('invalid_request')
      const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
      const forged = (header: object, claims: object) => `${part(header)}.${part(claims)}.${part('x')}`
      const typ = 'secevent+jwt'
      expect(await push(world, forged({ alg: 'none', typ }, setOf()))).toBe('authentication_failed')
      expect(await push(world, forged({ alg: 'ES256', typ, kid: 'dev-es256-1' }, setOf()))).toBe(
        'authentication_failed',
      )
      expect(await push(world, forged({ alg: 'ES256', typ, kid: 'mine' }, setOf()))).toBe('invalid_key')
      expect(await push(world, forged({ alg: 'ES256', typ }, setOf({ iss: 'https://nobody.example' })))).toBe(
        'invalid_issuer',
      )
      // An issuer of tokens is none of signals.
      expect(await push(world, forged({ alg: 'ES256', typ }, setOf({ iss: 'https://login.example.com' })))).toBe(
        'invalid_issuer',
      )
      expect(await push(world, await world.token('alice@payments'))).toBe('invalid_issuer')
      expect(await push(world, 'not a token')).toBe('invalid_request')
      expect(await push(world, '')).toBe('invalid_request')
      expect(await push(world, 'x'.repeat(70_000))).toBe('invalid_request')
      expect(await push(world, await world.stack.issuer.signal({ event: 'verification' }), 'application/jwt')).toBe(
        'invalid_request',
      )
      const late = await world.stack.issuer.signal({ event: 'session-revoked', subject: 'checkout' })
      clock.shift(62 * minuteMs)
      expect(await push(world, late)).toBe('invalid_request')
      expect((await signals(world)).length).toBe(before + 1)
      expect(await world.entries({ grant: held.grant, kind: 'grant.ending' })).toEqual([])
      const codes = (await world.entries({ kind: 'request.denied' })).map(({ code }) => code)
      expect(codes).toEqual(
        expect.arrayContaining(['token_replayed', 'token_invalid', 'issuer_unknown', 'token_too_old']),
      )
    })

    test('an issuer speaks for the subjects it is declared to speak for, and for no others', async () => {
      expect(await signal(world, { event: 'account-disabled', subject: 'github/repo:x', from: 'trust-signals' })).toBe(
        'access_denied',
      )
      expect(await world.issue('shop-deploy', { purpose: 'none' })).toMatchObject({ status: 403 })
    })

    test('a disabled account gets nothing until it is enabled, whatever the token', async () => {
      const held = await hold(world, 'checkout')
      nextSecond()
      expect(await signal(world, { event: 'account-disabled', subject: 'checkout' })).toBe('202')
      await ended(world, held.grant)
      nextSecond()
      const refused = await world.issue('checkout', { purpose: 'read-orders' })
      expect(refused).toMatchObject({ status: 403, body: { code: 'account_disabled' } })
      await world.restart()
      expect(await world.issue('checkout', { purpose: 'read-orders' })).toMatchObject({ status: 403 })
      nextSecond()
      expect(await signal(world, { event: 'account-enabled', subject: 'checkout' })).toBe('202')
      await hold(world, 'checkout')
    })

    test('a member who leaves takes approvals along; the last one starts the ladder, which a restart keeps', async () => {
      const asked = await world.issue('order-repair', {
        purpose: 'break-fix',
        reason: 'order 7 is half-written',
        ttl: '10m',
      })
      expect(asked.status, asked.text).toBe(202)
      const { approval } = asked.body
      const yes = await world.api('POST', `/v1/approvals/${approval}/approve`, { as: 'alice@payments', body: {} })
      expect(yes.status, yes.text).toBe(200)

      expect(await signal(world, { event: 'account-disabled', subject: 'alice@payments' })).toBe('202')
      const stale = { purpose: 'break-fix', reason: 'order 7 is half-written', ttl: '10m', approval }
      expect(await world.issue('order-repair', stale)).toMatchObject({ status: 403, body: { code: 'approval_denied' } })
      expect(await world.api('GET', '/v1/approvals', { as: 'alice@payments' })).toMatchObject({
        status: 403,
        body: { code: 'account_disabled' },
      })
      // Another member and the backup remain.
      const held = await hold(world, 'checkout')
      const findings = await eventually(async () => {
        const open = await openFindings(world)
        return open.has('member-left-payments/people/alice@payments') ? open : undefined
      }, 'a finding asks for the Team to be edited')
      expect([...findings.keys()].filter((name) => name.startsWith('owner-left-'))).toEqual([])

      expect(await signal(world, { event: 'account-purged', subject: 'people/bob@payments' })).toBe('202')
      const finding = await eventually(
        async () => (await openFindings(world)).get('owner-left-checkout'),
        'the ladder is told of',
      )
      expect(finding).toMatchObject({ severity: 'critical', workload: 'checkout', owner: 'payments' })
      expect(String(finding.detail)).toMatch(/payments has no member left\. From \d{4}-/)
      clock.shift(20 * minuteMs)
      const kept = await hold(world, 'checkout')
      await world.restart()
      expect(await world.api('GET', '/v1/approvals', { as: 'bob@payments' })).toMatchObject({ status: 403 })
      expect((await world.entries({ grant: held.grant, kind: 'grant.ended' })).length).toBe(0)
      clock.shift(11 * minuteMs)
      expect(await ended(world, kept.grant)).toMatchObject({ cause: 'owner_left', outcome: 'revoked' })
      expect(await world.login(kept.secret)).toMatch(/^28/)
      expect(await world.issue('checkout', { purpose: 'read-orders' })).toMatchObject({
        status: 403,
        body: { code: 'owner_missing' },
      })
      // Told of once, whatever restarted meanwhile.
      const opened = await world.entries({ kind: 'finding.opened' })
      expect(opened.filter(({ finding: name }) => name === 'owner-left-checkout')).toHaveLength(1)

      nextSecond()
      expect(await signal(world, { event: 'account-enabled', subject: 'people/bob@payments' })).toBe('202')
      await eventually(
        async () => ((await openFindings(world)).has('owner-left-checkout') ? undefined : true),
        'it is lifted',
      )
      await hold(world, 'checkout')
      await world.policies.edit('teams/payments.yaml', (text) => text.replace(/.*alice@payments.*\n/, ''))
      await eventually(
        async () => ((await openFindings(world)).has('member-left-payments/people/alice@payments') ? undefined : true),
        'the Team was edited',
      )
    })

    test('a person whose session is revoked logs in again, and one who is renamed is a finding', async () => {
      const old = await world.token('dana@security')
      nextSecond()
      expect(await signal(world, { event: 'session-revoked', subject: 'dana@security' })).toBe('202')
      expect(await world.api('GET', '/v1/grants', { token: old })).toMatchObject({
        status: 401,
        body: { code: 'session_revoked' },
      })
      expect(await world.api('GET', '/v1/grants', { as: 'dana@security' })).toMatchObject({ status: 200 })
      expect(await signal(world, { event: 'identifier-changed', subject: 'erin@sre' })).toBe('202')
      await eventually(async () => (await openFindings(world)).get('identifier-changed-people/erin@sre'), 'a finding')
      await world.policies.edit('teams/sre.yaml', (text) => text.replaceAll('erin@sre', 'erin@operations'))
      await eventually(
        async () => ((await openFindings(world)).has('identifier-changed-people/erin@sre') ? undefined : true),
        'the policies call her by her new name',
      )
      const { text } = await world.api('GET', '/metrics')
      expect(text).toContain('writ_signals_total{signal="session-revoked",outcome="received"}')
      const { body } = await world.api('GET', '/openapi.json')
      expect(body.paths).toHaveProperty([signalPath, 'post'])
    })
  })
}
