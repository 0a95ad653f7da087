import { inspect } from 'node:util'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import { AmbiguousMint, type FaultKind, VaultFault } from '../../src/engines/faults.ts'
import { createLeases } from '../../src/engines/leases.ts'
import { createVaultSession, type VaultSession, type VaultSessionOptions } from '../../src/engines/vault-session.ts'
import { freePort } from '../support/child.ts'
import { expiringClock, fakeClock } from '../support/clock.ts'
import { type Answer, hangUp, json, type ScriptedVault, scriptedVault, silence } from '../support/scripted-vault.ts'

const token = 'canary-token-of-the-broker'
const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  vi.unstubAllEnvs()
  for (const stop of stops.splice(0)) await stop()
})

async function serve(answer: Answer): Promise<ScriptedVault> {
  const server = await scriptedVault(answer)
  stops.push(server.stop)
  return server
}

function open(address: string, over: Partial<VaultSessionOptions> = {}): VaultSession {
  const session = createVaultSession({
    address,
    auth: { method: 'token', token: new Secret(token) },
    clock: systemClock,
    log: silentLog,
    ...over,
  })
  stops.unshift(session.close)
  return session
}

const fault = async (call: Promise<unknown>): Promise<VaultFault> => {
  const thrown = await call.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (!(thrown instanceof VaultFault)) throw new Error(`expected a VaultFault, got ${inspect(thrown)}`)
  expect(inspect(thrown, { depth: 12, showHidden: true })).not.toContain('canary')
  return thrown
}

const mint = (session: VaultSession): Promise<unknown> => session.read('database/creds/ro', { mints: true })
/** Answers looks at the token as a healthy Vault does, and everything else as told. */
const tokenIsFine =
  (answer: Answer): Answer =>
  (response, request) =>
    (request.url.endsWith('/lookup-self') ? json(200, { data: { ttl: 0 } }) : answer)(response, request)
const leaky = { errors: ['canary: the password is canary-password'], data: { password: 'canary-password' } }

describe('what each answer of Vault comes to', () => {
  const rows: readonly (readonly [name: string, Answer, FaultKind, ambiguous: boolean, asked: number])[] = [
    ['403', json(403, { errors: ['permission denied'] }), 'denied', false, 1],
    ['400 with a text that quotes secrets', json(400, leaky), 'rejected', false, 1],
    ['404', json(404, { errors: [] }), 'rejected', false, 1],
    ['405', json(405, { errors: ['unsupported operation'] }), 'rejected', false, 1],
    ['412, not replicated yet', json(412, { errors: ['required index state not present'] }), 'standby', false, 2],
    [
      '429, rate limit quota',
      json(429, { errors: ['request path "x": rate limit quota exceeded'] }),
      'rate_limited',
      false,
      1,
    ],
    ['307, a standby', json(307, { errors: [] }, { location: 'http://127.0.0.1:1/v1/x' }), 'standby', false, 2],
    ['472, a standby', json(472, { errors: [] }), 'standby', false, 2],
    ['500', json(500, leaky), 'server', false, 1],
    ['503, sealed', json(503, { errors: ['Vault is sealed'] }), 'sealed', false, 1],
    ['502 of a proxy', (response) => response.writeHead(502).end('<html>canary</html>'), 'gateway', true, 1],
    ['503 of a proxy', (response) => response.writeHead(503).end('canary'), 'gateway', true, 1],
    ['200 that is not JSON', (response) => response.writeHead(200).end('canary {'), 'unreadable', true, 1],
    ['200 of another shape', json(200, { lease_id: 7, data: 'canary' }), 'unreadable', true, 1],
    ['a body over one MiB', json(200, { data: { canary: 'x'.repeat(1_100_000) } }), 'oversized', true, 1],
    ['a connection that breaks', hangUp, 'lost', true, 1],
  ]

  test.each(rows)('a mint answered with %s', async (_, answer, kind, ambiguous, asked) => {
    const server = await serve(tokenIsFine(answer))
    const error = await fault(mint(open(server.address)))
    expect(error.kind).toBe(kind)
    expect(error instanceof AmbiguousMint).toBe(ambiguous)
    const mints = server.seen.filter(({ url }) => url === '/v1/database/creds/ro')
    expect(mints.length).toBe(asked)
    const refused = kind === 'denied' || kind === 'rejected'
    expect(error.code).toBe(refused ? 'engine_refused' : 'vault_unavailable')
  })

  test('what does not mint is tried once more when the connection breaks, and is never ambiguous', async () => {
    let calls = 0
    const server = await serve((response, request) => {
      calls += 1
      return calls === 1 ? hangUp(response, request) : json(200, { data: { ttl: 3 } })(response, request)
    })
    const session = open(server.address)
    expect((await session.write('sys/leases/renew', { lease_id: 'x' })).data).toEqual({ ttl: 3 })
    expect(calls).toBe(2)
    const dead = await serve(hangUp)
    expect(await fault(open(dead.address).write('sys/leases/revoke', {}))).not.toBeInstanceOf(AmbiguousMint)
  })

  test('nothing listening: nothing was minted, the reason is a code', async () => {
    const error = await fault(mint(open(`http://127.0.0.1:${await freePort()}`)))
    expect(error).toMatchObject({ kind: 'unreachable', code: 'vault_unavailable', retryAfterSeconds: 1 })
    expect(error).not.toBeInstanceOf(AmbiguousMint)
    expect(error.message).toContain('ECONNREFUSED')
  })

  test('Retry-After of a rate limit is passed on', async () => {
    const server = await serve(json(429, { errors: ['rate limit quota exceeded'] }, { 'retry-after': '7' }))
    expect(await fault(mint(open(server.address)))).toMatchObject({ kind: 'rate_limited', retryAfterSeconds: 7 })
  })

  test('a redirect is not followed, so the token goes to no other host', async () => {
    const other = await serve(json(200, { data: {} }))
    const server = await serve((response) => response.writeHead(307, { location: `${other.address}/v1/x` }).end())
    await fault(mint(open(server.address)))
    expect(other.seen).toEqual([])
  })

  test('a missing permission names the line for each way of calling', async () => {
    const server = await serve(tokenIsFine(json(403, { errors: ['permission denied'] })))
    const session = open(server.address)
    const lines = [
      [() => session.read('a/b'), 'path "a/b" { capabilities = ["read"] }'],
      [() => session.write('a/b', {}), 'path "a/b" { capabilities = ["update"] }'],
      [() => session.list('a/b/'), 'path "a/b/" { capabilities = ["list"] }'],
      [() => session.list('sys/leases/lookup/a/'), 'path "sys/leases/lookup/a/" { capabilities = ["list", "sudo"] }'],
      [() => session.delete('a/b'), 'path "a/b" { capabilities = ["delete"] }'],
    ] as const
    for (const [call, line] of lines) expect((await fault(call())).message).toContain(line)
  })
})

describe('deadlines and bounds', () => {
  test('a mint that is not answered in time is ambiguous; one that never got a socket is not', async () => {
    const server = await serve(silence)
    const clock = expiringClock()
    const session = open(server.address, { clock })
    const calls = Array.from({ length: 65 }, () => fault(mint(session)))
    await expect.poll(() => server.seen.length).toBe(64)
    clock.expire()
    const errors = await Promise.all(calls)
    expect(errors.filter((error) => error instanceof AmbiguousMint && error.kind === 'timeout').length).toBe(64)
    expect(errors.filter((error) => !(error instanceof AmbiguousMint) && error.kind === 'busy').length).toBe(1)
  })

  test('calls beyond the bound are refused at once, not queued', async () => {
    const server = await serve(silence)
    const clock = expiringClock()
    const session = open(server.address, { clock })
    const waiting = Array.from({ length: 256 }, () => fault(mint(session)))
    expect(await fault(mint(session))).toMatchObject({ kind: 'busy', code: 'vault_unavailable', retryAfterSeconds: 1 })
    await expect.poll(() => server.seen.length).toBe(64)
    clock.expire()
    await Promise.all(waiting)
  })

  test('a revocation goes through at once while two hundred mints wait for a Vault that does not answer them', async () => {
    const answer = { data: null, lease_id: '', lease_duration: 0, renewable: false }
    const server = await serve((response, request) => {
      if (request.url === '/v1/sys/leases/revoke') json(200, answer)(response, request)
    })
    const clock = expiringClock()
    const session = open(server.address, { clock })
    const mints = Array.from({ length: 200 }, () => fault(mint(session)))
    await expect.poll(() => server.seen.length).toBe(64)
    const { revoke } = createLeases(session, clock)
    await Promise.all(
      Array.from({ length: 100 }, (_, i) => revoke({ type: 'lease', id: `database/creds/r/${i}` }, 10_000)),
    )
    // No more mints got a socket meanwhile: the lanes are apart.
    expect(server.seen.map(({ url }) => url).filter((url) => url !== '/v1/sys/leases/revoke')).toHaveLength(64)
    expect(server.sockets()).toBeLessThanOrEqual(64 + 32)
    clock.expire()
    await Promise.all(mints)
  })

  test('a caller that gives up ends the call; before a socket took it nothing was done', async () => {
    const server = await serve(silence)
    const session = open(server.address)
    const caller = new AbortController()
    const call = fault(session.read('database/creds/ro', { mints: true, signal: caller.signal }))
    await expect.poll(() => server.seen.length).toBe(1)
    caller.abort()
    expect(await call).toMatchObject({ kind: 'aborted', ambiguous: true })
    const late = await fault(session.read('database/creds/ro', { mints: true, signal: caller.signal }))
    expect(late).not.toBeInstanceOf(AmbiguousMint)
    expect(server.seen.length).toBe(1)
  })

  test('a broken call leaves room for the next: no slot is lost', async () => {
    const server = await serve(json(200, { data: {} }))
    const session = open(server.address)
    for (let i = 0; i < 300; i += 1) {
      const error = await fault(session.read('a', { token: new Secret('canary\nline'), mints: true }))
      expect(error).not.toBeInstanceOf(AmbiguousMint)
    }
    for (const path of ['a b', 'a\r\nx: y', 'ä']) await fault(session.read(path))
    await session.read('a')
    expect(server.seen.filter(({ url }) => url === '/v1/a').length).toBe(1)
  })

  test('sockets are kept: calls one after the other open no more than two', async () => {
    const server = await serve(json(200, { data: {} }))
    const session = open(server.address)
    for (let i = 0; i < 20; i += 1) await session.read('a')
    expect(server.sockets()).toBeLessThanOrEqual(2)
  })
})

describe('what is sent', () => {
  test('the token, the namespace and the wrapping time; nothing from the environment', async () => {
    vi.stubEnv('VAULT_TOKEN', 'from-the-environment')
    vi.stubEnv('VAULT_NAMESPACE', 'from-the-environment')
    vi.stubEnv('VAULT_ADDR', 'http://127.0.0.1:1')
    vi.stubEnv('VAULT_PREFIX', '/from-the-environment')
    const server = await serve(json(200, { data: {} }))
    await open(server.address).read('a/b', { wrapTtlSeconds: 60 })
    await open(`${server.address}/prefix/`, { namespace: 'team/a' }).write('a/b', { x: 1 })
    const [plain, spaced] = server.seen
    expect(plain).toMatchObject({ method: 'GET', url: '/v1/a/b', body: '' })
    expect(plain?.headers).toMatchObject({
      'x-vault-token': token,
      'x-vault-wrap-ttl': '60s',
      'x-vault-request': 'true',
    })
    expect(plain?.headers['x-vault-namespace']).toBeUndefined()
    expect(spaced).toMatchObject({ method: 'POST', url: '/prefix/v1/a/b', body: '{"x":1}' })
    expect(spaced?.headers['x-vault-namespace']).toBe('team/a')
    expect(JSON.stringify(server.seen)).not.toContain('from-the-environment')
  })

  test('no token is asked for health, and an answer of any status is read', async () => {
    const health = { initialized: true, sealed: true, standby: true, version: '1.19.0', enterprise: false }
    const server = await serve(json(503, { ...health, server_time_utc: Math.floor(Date.now() / 1000) - 60 }))
    const seen = await open(server.address).health()
    expect(seen).toMatchObject({ reachable: true, sealed: true, standby: true, kind: 'vault', version: '1.19.0' })
    expect(seen.clockSkewMs).toBeLessThanOrEqual(-59_000)
    expect(server.seen[0]?.headers['x-vault-token']).toBeUndefined()
    const nobody = await open(`http://127.0.0.1:${await freePort()}`).health()
    expect(nobody).toMatchObject({ reachable: false, kind: 'unknown' })
  })
})

describe('a Vault that is away', () => {
  const health = (sealed: boolean): Answer =>
    json(sealed ? 503 : 200, { initialized: true, sealed, standby: sealed, version: '2.5.5', server_time_utc: 1 })

  test('is known as such from the first call that met it, and known to be back without another', async () => {
    let sealed = false
    const server = await serve((response, request) => {
      if (request.url.endsWith('/sys/health')) return health(sealed)(response, request)
      return sealed ? json(503, { errors: ['Vault is sealed'] })(response, request) : json(200, {})(response, request)
    })
    const clock = fakeClock()
    const session = open(server.address, { clock })
    await session.start()
    expect(session.ready().ok).toBe(true)
    sealed = true
    await Promise.all([1, 2, 3].map(() => fault(session.read('a'))))
    await expect.poll(() => session.ready()).toEqual({ ok: false, detail: 'Vault is sealed' })
    const looks = () => server.seen.filter(({ url }) => url.endsWith('/sys/health')).length
    expect(looks()).toBe(1)
    sealed = false
    await clock.advance(2_000)
    await expect.poll(() => session.ready().ok).toBe(true)
    await clock.advance(60_000)
    expect(looks()).toBe(2)
  })

  test('is not concluded from a role that fails or is slow while Vault itself is well', async () => {
    const server = await serve((response, request) => {
      if (request.url.endsWith('/sys/health')) return health(false)(response, request)
      if (request.url.endsWith('/slow')) return silence(response, request)
      return json(request.url.endsWith('/lookup-self') ? 200 : 500, leaky)(response, request)
    })
    const session = open(server.address)
    await session.start()
    expect((await fault(session.read('broken'))).kind).toBe('server')
    expect((await fault(session.read('slow', { deadlineMs: 50 }))).kind).toBe('timeout')
    await expect.poll(() => server.seen.some(({ url }) => url.endsWith('/sys/health'))).toBe(true)
    expect(session.ready().ok).toBe(true)
  })
})

describe('the token of the broker', () => {
  const ids = async () => ({ roleId: 'role', secretId: new Secret('canary-secret-id') })
  const auth = { method: 'approle', ids } as const
  const login = (name: string, ttl: number, renewable = true) =>
    json(200, { auth: { client_token: `canary-${name}`, accessor: name, lease_duration: ttl, renewable } })

  test('a Vault that is down at the start is found later, without hammering it', async () => {
    let up = false
    const server = await serve((response, request) =>
      up ? login('x', 3600)(response, request) : json(503, { errors: ['Vault is sealed'] })(response, request),
    )
    const clock = fakeClock()
    const session = open(server.address, { auth, clock })
    await session.start()
    expect(session.ready()).toMatchObject({ ok: false })
    const logins = server.seen.length
    for (let i = 0; i < 10; i += 1) expect(await fault(session.read('a'))).toMatchObject({ kind: 'not_logged_in' })
    expect(server.seen.length).toBe(logins)
    up = true
    await clock.advance(1_000)
    await expect.poll(() => session.ready().ok).toBe(true)
  })

  test('many calls without a token make one login', async () => {
    const server = await serve((response, request) =>
      request.url.endsWith('/login') ? login('x', 3600)(response, request) : json(200, { data: {} })(response, request),
    )
    const session = open(server.address, { auth })
    await Promise.all(Array.from({ length: 20 }, () => session.read('a')))
    expect(server.seen.filter(({ url }) => url.endsWith('/login')).length).toBe(1)
  })
})
