import { inspect } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import type { MintOrder, MintTarget } from '../../src/engines/engine.ts'
import { AmbiguousMint } from '../../src/engines/faults.ts'
import type { Engines } from '../../src/engines/registry.ts'
import { type Script, scriptedEngines } from '../support/scripted-engines.ts'
import { hangUp, json, type ScriptedVault } from '../support/scripted-vault.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

async function world(script: Script): Promise<{ engines: Engines; server: ScriptedVault }> {
  const made = await scriptedEngines(script)
  stops.push(made.stop)
  return made
}

const order = (target: Partial<MintTarget> & { engine: string }, over: Partial<MintOrder> = {}): MintOrder => ({
  grant: 'gr_01jd3x5zq8v7n2k4m6p9r0t1w3',
  target: { credential: 'c', mount: target.engine, role: 'role', params: {}, ...target },
  names: { workload: 'w', grant: 'gr_1', purpose: 'p', environment: 'prod', owner: 'o', task: '' },
  callerParams: {},
  ttlSeconds: 60,
  delivery: 'plain',
  ...over,
})

async function failed(engines: Engines, asked: MintOrder): Promise<unknown> {
  const error = await engines
    .get(asked.target.engine)
    ?.mint(asked)
    .then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
  if (error === undefined) throw new Error('the mint succeeded, and it must not')
  expect(inspect(error, { depth: 12, showHidden: true })).not.toContain('canary')
  return error
}

const user = json(200, {
  lease_id: 'database/creds/role/canary-lease',
  lease_duration: 3600,
  renewable: true,
  data: { username: 'v-user', password: 'canary-password' },
})
const broken = json(500, { errors: ['canary'] })
/** What was asked of it, but for the look at its health that a fault causes beside it. */
const paths = (server: ScriptedVault): string[] =>
  server.seen.map(({ url }) => url.replace('/v1/', '')).filter((path) => path !== 'sys/health')

describe('a database user whose lease cannot be cut to the life that was decided', () => {
  test('is revoked and handed to nobody', async () => {
    const { engines, server } = await world({
      'database/creds/role': user,
      'sys/leases/renew': broken,
      'sys/leases/revoke': json(204, undefined),
    })
    const error = await failed(engines, order({ engine: 'database' }))
    expect(error).toMatchObject({ code: 'vault_unavailable', kind: 'server' })
    expect(error).not.toBeInstanceOf(AmbiguousMint)
    expect(paths(server)).toEqual(['database/creds/role', 'sys/leases/renew', 'sys/leases/revoke'])
  })

  test('is ambiguous when it cannot be revoked either', async () => {
    const { engines } = await world({
      'database/creds/role': user,
      'sys/leases/renew': broken,
      'sys/leases/revoke': broken,
    })
    expect(await failed(engines, order({ engine: 'database' }))).toBeInstanceOf(AmbiguousMint)
  })
})

describe('an answer that is not what was asked for', () => {
  test.each([
    ['no lease', { data: { username: 'u', password: 'canary-p' } }],
    ['no password', { lease_id: 'canary-lease', data: { username: 'u' } }],
    ['no data', { lease_id: 'canary-lease' }],
  ])('a database user with %s is ambiguous', async (_, body) => {
    const { engines } = await world({ 'database/creds/role': json(200, body) })
    expect(await failed(engines, order({ engine: 'database' }))).toBeInstanceOf(AmbiguousMint)
  })

  test.each([
    ['about to be rotated', 0, { code: 'vault_unavailable', retryAfterSeconds: 5 }],
    ['standing longer than was decided', 61, { code: 'engine_refused' }],
  ])('the password of a static role that is %s is handed to nobody', async (_, ttl, refused) => {
    const data = { username: 'u', password: 'canary-p', ttl, last_vault_rotation: '2026-11-22T12:00:00.123456789Z' }
    const { engines } = await world({ 'database/static-creds/role': json(200, { data }) })
    const asked = order({ engine: 'database', params: { staticRole: true } })
    expect(await failed(engines, asked)).toMatchObject(refused)
  })

  test('a static role with a schedule says when it rotates next, and no period', async () => {
    const data = { username: 'u', password: 'p', ttl: 50, last_vault_rotation: '2026-11-22T12:00:00.123456789Z' }
    const answer = json(200, { data: { ...data, rotation_schedule: '0 * * * *', rotation_window: 3600 } })
    const { engines } = await world({ 'database/static-creds/role': answer })
    const minted = await engines.get('database')?.mint(order({ engine: 'database', params: { staticRole: true } }))
    expect(minted?.rotation).toMatchObject({
      rotatedAtMs: Date.UTC(2026, 10, 22, 12, 0, 0, 123),
      everySeconds: undefined,
    })
    expect(minted?.rotation?.rotatesAtMs).toBe(minted?.expiresAtMs)
  })

  const certificate = {
    certificate: 'canary',
    issuing_ca: 'canary',
    serial_number: '01:02',
    expiration: Math.floor(Date.now() / 1000) + 86_400,
  }

  test('a certificate that outlives its grant is revoked and handed to nobody', async () => {
    const { engines, server } = await world({
      'pki/issue/role': json(200, { data: certificate }),
      'pki/revoke': json(200, { data: { revocation_time: 1 } }),
    })
    const error = await failed(engines, order({ engine: 'pki' }))
    expect(error).toMatchObject({ code: 'engine_refused' })
    expect(String(error)).toContain('outlives')
    expect(server.seen.at(-1)?.body).toBe('{"serial_number":"01:02"}')
  })

  test('a serial that is not one is not taken for one', async () => {
    const { engines } = await world({
      'pki/issue/role': json(200, { data: { ...certificate, serial_number: '../x' } }),
    })
    expect(await failed(engines, order({ engine: 'pki' }))).toBeInstanceOf(AmbiguousMint)
  })

  test('a revocation that does not say when it happened did not happen', async () => {
    const { engines } = await world({ 'pki/revoke': json(200, { data: { revocation_time: 0 } }) })
    const handle = { type: 'certificate', mount: 'pki', serial: '01:02' } as const
    await expect(engines.get('pki')?.revoke(handle)).rejects.toMatchObject({ code: 'vault_unavailable' })
  })

  test('a response that should be wrapped and is not is never handed on, and its token is ended', async () => {
    const { engines, server } = await world({
      'auth/token/create': json(200, {
        auth: { client_token: 'canary-child', accessor: 'canary-accessor', lease_duration: 60, renewable: false },
      }),
      'database/creds/role': user,
      'auth/token/revoke-accessor': json(204, undefined),
    })
    const error = await failed(engines, order({ engine: 'database' }, { delivery: 'wrapped' }))
    expect(error).toBeInstanceOf(AmbiguousMint)
    expect(paths(server).at(-1)).toBe('auth/token/revoke-accessor')
    expect(server.seen.at(-1)?.body).toBe('{"accessor":"canary-accessor"}')
  })
})

describe('wrapped delivery that breaks half way', () => {
  const child = json(200, {
    auth: { client_token: 'canary-child', accessor: 'acc', lease_duration: 60, renewable: false },
  })

  test('ends the token made for the grant, so that nothing it minted stays', async () => {
    const { engines, server } = await world({
      'auth/token/create': child,
      'database/creds/role': hangUp,
      'auth/token/revoke-accessor': json(204, undefined),
    })
    expect(await failed(engines, order({ engine: 'database' }, { delivery: 'wrapped' }))).toBeInstanceOf(AmbiguousMint)
    expect(paths(server).filter((path) => path === 'database/creds/role').length).toBe(1)
    expect(paths(server).at(-1)).toBe('auth/token/revoke-accessor')
  })

  test('before anything was minted is not ambiguous', async () => {
    const { engines } = await world({ 'auth/token/create': broken })
    const error = await failed(engines, order({ engine: 'database' }, { delivery: 'wrapped' }))
    expect(error).not.toBeInstanceOf(AmbiguousMint)
  })
})

describe('what Vault must allow', () => {
  const needs = (engines: Engines, target: Partial<MintTarget> & { engine: string }, delivery?: 'wrapped'): string[] =>
    (engines.get(target.engine)?.needs(order(target).target, delivery) ?? []).map(
      ({ path, capability }) => `${capability} ${path}`,
    )

  test('each engine names its paths, wrapped delivery of leased secrets its own', async () => {
    const { engines } = await world({})
    expect(engines.kinds).toEqual(
      'database pki ssh kv rabbitmq token leased kubernetes ldap aws gcp azure transit'.split(' '),
    )
    expect(needs(engines, { engine: 'database' })).toEqual([
      'read database/creds/role',
      'update sys/leases/renew',
      'update sys/leases/lookup',
      'update sys/leases/revoke',
      'list sys/leases/lookup/database/creds/role/',
      'sudo sys/leases/lookup/database/creds/role/',
    ])
    expect(needs(engines, { engine: 'database' }, 'wrapped').slice(6)).toEqual([
      'update auth/token/create',
      'update auth/token/lookup-accessor',
      'update auth/token/revoke-accessor',
    ])
    expect(needs(engines, { engine: 'database', params: { staticRole: true } }, 'wrapped')).toEqual([
      'read database/static-creds/role',
    ])
    expect(needs(engines, { engine: 'rabbitmq' })).toContain('list sys/leases/lookup/rabbitmq/creds/role/')
    expect(needs(engines, { engine: 'pki' })).toEqual([
      'update pki/issue/role',
      'update pki/sign/role',
      'update pki/revoke',
    ])
    expect(needs(engines, { engine: 'pki', params: { no_store: true } }).length).toBe(2)
    expect(new Set(needs(engines, { engine: 'pki', params: { generate_lease: true } })).size).toBe(9)
    expect(needs(engines, { engine: 'ssh' })).toEqual(['update ssh/sign/role'])
    expect(needs(engines, { engine: 'kv', mount: 'static', role: 'a/b' })).toEqual(['read static/data/a/b'])
    expect(engines.get('nonesuch')).toBeUndefined()
  })
})
