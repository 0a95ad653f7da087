import { inspect } from 'node:util'
import { SignJWT } from 'jose'
import { afterEach, describe, expect, test } from 'vitest'
import type { Engine, Minted, MintOrder } from '../../src/engines/engine.ts'
import { AmbiguousMint } from '../../src/engines/faults.ts'
import { orderFor, targetOf } from '../support/credential-order.ts'
import { type Script, scriptedEngines } from '../support/scripted-engines.ts'
import { type Answer, hangUp, json, type ScriptedVault, silence } from '../support/scripted-vault.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

type Document = Readonly<Record<string, unknown>>

/** The engine of a document over a server that answers by path, and refuses what is not in the script. */
async function world(
  document: Document,
  script: Script,
): Promise<{ engine: Engine; server: ScriptedVault; mint(over?: Partial<MintOrder>): Promise<Minted> }> {
  const { engines, server, stop } = await scriptedEngines(script, 300)
  stops.push(stop)
  const engine = engines.get(targetOf(document).engine)
  if (engine === undefined) throw new Error('no such engine')
  return { engine, server, mint: (over) => engine.mint(orderFor(document, { ttlSeconds: 3600, ...over })) }
}

async function failure(mint: Promise<unknown>): Promise<unknown> {
  const error = await mint.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error === undefined) throw new Error('the mint succeeded, and it must not')
  expect(inspect(error, { depth: 12, showHidden: true })).not.toContain('canary')
  return error
}

/** What was asked of it, but for the look at its health that a fault causes beside it. */
const asked = (server: ScriptedVault): string[] =>
  server.seen
    .map(({ method, url }) => `${method} ${url.replace('/v1/', '')}`)
    .filter((line) => !line.endsWith('health'))
const done = json(204, undefined)
const inAnHour = (): number => Math.floor(Date.now() / 1000) + 3599

interface Recorded {
  readonly document: Document
  readonly path: string
  readonly asked: string
  readonly body: () => object
  readonly fields: readonly string[]
  readonly id: string | undefined
  readonly revocable: boolean
}

/**
 * Answers as the API documentation of HashiCorp Vault (api-docs/secret/aws, gcp, azure) and the source of its engines give them.
 * By contract: none of these was verified against the cloud, and OpenBao 2.5 does not have these engines.
 */
const recorded: Readonly<Record<string, Recorded>> = {
  'aws: an IAM user': {
    document: { engine: 'aws', mount: 'aws', role: 'deploy', credential_type: 'iam_user' },
    path: 'aws/creds/deploy',
    asked: '{}',
    body: () => ({
      lease_id: 'aws/creds/deploy/canary-lease',
      renewable: true,
      lease_duration: 3600,
      data: { access_key: 'AKIAIOSFODNN7EXAMPLE', secret_key: 'canary-key', security_token: null },
    }),
    fields: ['access_key', 'secret_key'],
    id: 'AKIAIOSFODNN7EXAMPLE',
    revocable: true,
  },
  'aws: a session of STS': {
    document: {
      engine: 'aws',
      mount: 'aws',
      role: 'deploy',
      credential_type: 'assumed_role',
      params: { role_session_name: '{{workload}}' },
    },
    path: 'aws/sts/deploy',
    asked: '{"role_session_name":"checkout","ttl":"3600s"}',
    body: () => ({
      lease_id: 'aws/sts/deploy/canary-lease',
      renewable: false,
      lease_duration: 3599,
      data: {
        access_key: 'ASIAIOSFODNN7EXAMPLE',
        secret_key: 'canary-key',
        security_token: 'canary-session',
        arn: 'arn:aws:sts::123456789012:assumed-role/deploy/checkout',
      },
    }),
    fields: ['access_key', 'secret_key', 'security_token', 'arn'],
    id: 'ASIAIOSFODNN7EXAMPLE',
    revocable: false,
  },
  'aws: a session of STS without a lease': {
    document: { engine: 'aws', mount: 'aws', role: 'deploy', credential_type: 'federation_token' },
    path: 'aws/sts/deploy',
    asked: '{"ttl":"3600s"}',
    body: () => ({
      data: { access_key: 'ASIAEXAMPLE', secret_key: 'canary-key', security_token: 'canary-session', ttl: 3599 },
    }),
    fields: ['access_key', 'secret_key', 'security_token'],
    id: 'ASIAEXAMPLE',
    revocable: false,
  },
  'gcp: an access token': {
    document: { engine: 'gcp', mount: 'gcp', account: 'roleset', role: 'viewer', secret: 'token' },
    path: 'gcp/roleset/viewer/token',
    asked: '',
    body: () => ({ data: { token: 'ya29.canary', expires_at_seconds: inAnHour(), token_ttl: 3599 } }),
    fields: ['token', 'token_ttl', 'expires_at_seconds'],
    // sha256sum of `ya29.canary`
    id: '745cb0069bf5df327a4793912378897b77617950e634beb00132360710de333d',
    revocable: false,
  },
  'gcp: a service account key': {
    document: {
      engine: 'gcp',
      mount: 'gcp',
      account: 'static-account',
      role: 'uploader',
      secret: 'key',
      params: { key_type: 'TYPE_GOOGLE_CREDENTIALS_FILE' },
    },
    path: 'gcp/static-account/uploader/key',
    asked: '{"key_type":"TYPE_GOOGLE_CREDENTIALS_FILE","ttl":"3600s"}',
    body: () => ({
      lease_id: 'gcp/static-account/uploader/key/canary-lease',
      renewable: true,
      lease_duration: 3600,
      data: {
        private_key_data: 'canary-private',
        key_algorithm: 'KEY_ALG_RSA_2048',
        key_type: 'TYPE_GOOGLE_CREDENTIALS_FILE',
      },
    }),
    fields: ['private_key_data', 'key_algorithm', 'key_type'],
    id: undefined,
    revocable: true,
  },
  'azure: a client secret': {
    document: { engine: 'azure', mount: 'azure', role: 'reader' },
    path: 'azure/creds/reader',
    asked: '',
    body: () => ({
      lease_id: 'azure/creds/reader/canary-lease',
      renewable: true,
      lease_duration: 3600,
      data: { client_id: '408bf248-dd4e-4be5-919a-7f6207a307ab', client_secret: 'canary-secret' },
    }),
    fields: ['client_id', 'client_secret'],
    id: '408bf248-dd4e-4be5-919a-7f6207a307ab',
    revocable: true,
  },
}

describe('clouds, by contract and not verified against the cloud', () => {
  test.each(Object.entries(recorded))('%s', async (_, { document, path, asked: sent, body, fields, id, revocable }) => {
    const { engine, server, mint } = await world(document, {
      [path]: json(200, body()),
      'sys/leases/revoke': done,
    })
    const minted = await mint()
    expect(server.seen[0]).toMatchObject({ url: `/v1/${path}`, body: sent === '{}' ? '' : sent })
    expect(server.seen[0]?.method).toBe(sent.startsWith('{"') ? 'POST' : 'GET')
    expect(Object.keys(minted.secret.reveal()).toSorted()).toEqual(fields.toSorted())
    expect(minted.publicIds.map(({ value }) => value)).toEqual(id === undefined ? [] : [id])
    expect(minted.expiresAtMs).toBeLessThanOrEqual(Date.now() + 3_600_000)
    expect(minted.expiresAtMs).toBeGreaterThan(Date.now() + 3_500_000)
    expect(engine.revocable(targetOf(document))).toBe(revocable)
    expect(minted.handle !== undefined).toBe(revocable)
    if (minted.handle === undefined) {
      expect(await engine.leases(targetOf(document))).toBeUndefined()
      expect(await failure(mint({ delivery: 'wrapped' }))).toMatchObject({ code: 'engine_refused' })
      return
    }
    await engine.revoke(minted.handle.reveal())
    expect(server.seen.at(-1)?.body).toBe(`{"lease_id":"${path}/canary-lease","sync":true}`)
  })

  test.each(Object.entries(recorded))('%s that outlives what was decided is handed to nobody', async (_, entry) => {
    const { server, mint } = await world(entry.document, {
      [entry.path]: json(200, entry.body()),
      // A Vault that does not cut leases.
      'sys/leases/renew': json(200, { lease_id: 'canary-lease', lease_duration: 3600, renewable: true }),
      'sys/leases/revoke': done,
    })
    const error = await failure(mint({ ttlSeconds: 1800 }))
    expect(error).toMatchObject({ code: 'engine_refused' })
    expect(String(error)).toContain('outlives the 1800 s that were decided')
    expect(error).not.toBeInstanceOf(AmbiguousMint)
    expect(asked(server).includes('POST sys/leases/revoke')).toBe(entry.revocable)
  })

  test.each(Object.entries(recorded))('%s without one of its fields is handed to nobody', async (_, entry) => {
    const whole = entry.body() as { data: Record<string, unknown> }
    const { server, mint } = await world(entry.document, {
      [entry.path]: json(200, { ...whole, data: { ...whole.data, [entry.fields[0] ?? '']: undefined } }),
      'sys/leases/revoke': done,
    })
    const error = await failure(mint())
    expect(error).toMatchObject({ code: 'engine_refused' })
    expect(String(error)).toContain(`no field ${entry.fields[0]} that the Credential names`)
    expect(asked(server).includes('POST sys/leases/revoke')).toBe(entry.revocable)
  })
})

const nomad = {
  engine: 'leased',
  mount: 'nomad',
  method: 'read',
  path: 'creds/deploy',
  response: { fields: ['secret_id'], optional: ['accessor_id'], id: { field: 'secret_id', type: 'token_sha256' } },
}
const lease = { lease_id: 'nomad/creds/deploy/canary-lease', lease_duration: 3600, renewable: true }
const answered = (over: object, data: object = { secret_id: 'canary-id', accessor_id: 'b3', undeclared: 'canary-x' }) =>
  json(200, { ...lease, data, ...over })

describe('any engine that a Credential describes', () => {
  test('only the fields that it names leave', async () => {
    const { mint } = await world(nomad, { 'nomad/creds/deploy': answered({}) })
    const minted = await mint()
    expect(minted.secret.reveal()).toEqual({ secret_id: 'canary-id', accessor_id: 'b3' })
    // sha256sum of `canary-id`
    const value = 'e8b05d416393d20c61164c64f4385e88fc5bac4c88033b9efe5f258b2d10c5c9'
    expect(minted.publicIds).toEqual([{ type: 'token_sha256', value }])
    expect(minted.renewable).toBe(true)
  })

  test('parameters are filled in and sent in the body, with the life that was decided', async () => {
    const document = {
      ...nomad,
      method: 'write',
      params: { comment: 'for {{workload}}', tags: ['{{purpose}}', 'x'], deep: true },
      ttl_param: 'ttl',
    }
    const { server, mint } = await world(document, { 'nomad/creds/deploy': answered({}) })
    await mint()
    expect(JSON.parse(server.seen[0]?.body ?? '')).toEqual({
      comment: 'for checkout',
      tags: ['read-orders', 'x'],
      deep: true,
      ttl: '3600s',
    })
  })

  test('a lease that starts longer is cut, one that starts shorter is extended', async () => {
    for (const [first, then] of [
      [7200, 3600],
      [60, 3600],
    ] as const) {
      const { server, mint } = await world(nomad, {
        'nomad/creds/deploy': answered({ lease_duration: first }),
        'sys/leases/renew': json(200, { ...lease, lease_duration: then }),
      })
      const minted = await mint()
      expect(server.seen[1]?.body).toBe(`{"lease_id":"${lease.lease_id}","increment":3600}`)
      expect(minted.expiresAtMs).toBeGreaterThan(Date.now() + 3_590_000)
      expect(minted.expiresAtMs).toBeLessThanOrEqual(Date.now() + 3_600_000)
    }
  })

  test('what says nowhere when it ends is handed to nobody', async () => {
    const { mint } = await world({ ...nomad, revocable: false }, { 'nomad/creds/deploy': answered({ lease_id: '' }) })
    expect(String(await failure(mint()))).toContain('nothing says when the secret ends')
  })

  test.each([
    ['seconds', 'soon'],
    ['seconds', -1],
    ['seconds', 7200],
    ['unix_time', 'canary'],
    ['unix_time', 9e12],
    ['jwt', 'canary.canary.canary'],
    ['jwt', { canary: 1 }],
  ])('an end (%s) of %j that cannot be, or is too late, is refused and the lease revoked', async (as, end) => {
    const response = { ...nomad.response, expires: { field: 'until', as } }
    const { server, mint } = await world(
      { ...nomad, response },
      {
        'nomad/creds/deploy': answered({}, { secret_id: 'canary-id', until: end }),
        'sys/leases/revoke': done,
      },
    )
    expect(await failure(mint())).toMatchObject({ code: 'engine_refused' })
    expect(asked(server)).toEqual(['GET nomad/creds/deploy', 'POST sys/leases/revoke'])
  })

  test('the end of a JWT counts, and makes its lease not renewable', async () => {
    const exp = Math.floor(Date.now() / 1000) + 600
    const token = await new SignJWT({})
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime(exp)
      .sign(new Uint8Array(32))
    const response = { ...nomad.response, expires: { field: 'secret_id', as: 'jwt' } }
    const { mint } = await world({ ...nomad, response }, { 'nomad/creds/deploy': answered({}, { secret_id: token }) })
    expect(await mint()).toMatchObject({ expiresAtMs: exp * 1000, renewable: false })
  })
})

describe('what goes wrong leaves no lease behind, or says that it may have', () => {
  const mounts: readonly [string, Answer, object][] = [
    [
      'a mount that is not there',
      json(404, { errors: ['no handler for route'] }),
      { code: 'engine_refused', errorClass: 'no such mount' },
    ],
    [
      'a role that is not there',
      json(400, { errors: ['unknown role: canary'] }),
      { code: 'engine_refused', errorClass: 'unknown role' },
    ],
    ['a path that is denied', json(403, { errors: ['permission denied'] }), { code: 'engine_refused', kind: 'denied' }],
    ['a cloud that is away', json(500, { errors: ['canary'] }), { code: 'vault_unavailable', kind: 'server' }],
  ]
  test.each(mounts)('%s minted nothing', async (_, answer, expected) => {
    const { server, mint } = await world(nomad, { 'nomad/creds/deploy': answer })
    const error = await failure(mint())
    expect(error).toMatchObject(expected)
    expect(error).not.toBeInstanceOf(AmbiguousMint)
    expect(asked(server).filter((line) => !line.endsWith('lookup-self'))).toEqual(['GET nomad/creds/deploy'])
  })

  const lost: readonly [string, Answer][] = [
    ['an answer that never comes', silence],
    ['a connection that breaks', hangUp],
    ['an answer that is not JSON', (response) => void response.writeHead(200).end('<canary>')],
    ['an answer that is endless', (response) => void response.writeHead(200).end(`"${'canary'.repeat(3_000_000)}"`)],
    ['an answer without data', json(200, lease)],
    ['an answer with a list for data', json(200, { ...lease, data: ['canary'] })],
    ['an answer without a lease', json(200, { data: { secret_id: 'canary' } })],
  ]
  test.each(lost)('%s is of unknown outcome, and asked once', async (_, answer) => {
    const { server, mint } = await world(nomad, { 'nomad/creds/deploy': answer })
    expect(await failure(mint())).toBeInstanceOf(AmbiguousMint)
    expect(asked(server)).toEqual(['GET nomad/creds/deploy'])
  })

  test('a secret that cannot be ended when it must is of unknown outcome', async () => {
    const { mint } = await world(nomad, {
      'nomad/creds/deploy': answered({}, {}),
      'sys/leases/revoke': json(500, { errors: ['canary'] }),
    })
    expect(await failure(mint())).toBeInstanceOf(AmbiguousMint)
  })
})

describe('documents that are refused', () => {
  test.each([
    ['the system of Vault', { ...nomad, mount: 'sys' }],
    ['a login', { ...nomad, mount: 'auth/token', path: 'create' }],
    ['a path that climbs', { ...nomad, path: 'creds/../config' }],
    ['a query', { ...nomad, path: 'creds/x?list=true' }],
    ['a read with parameters', { ...nomad, params: { a: 'b' } }],
    ['an id that is no field', { ...nomad, response: { ...nomad.response, id: { field: 'x', type: 'username' } } }],
    ['no fields', { ...nomad, response: { fields: [] } }],
    ['root', { engine: 'token', role: 'r', policies: ['root'] }],
    ['no policies', { engine: 'token', role: 'r', policies: [] }],
    ['a token elsewhere', { engine: 'token', mount: 'sys', role: 'r', policies: ['a'] }],
    [
      'parameters of an IAM user',
      { engine: 'aws', mount: 'aws', role: 'r', credential_type: 'iam_user', params: { role_arn: 'a' } },
    ],
    [
      'a key of an impersonated account',
      { engine: 'gcp', mount: 'gcp', account: 'impersonated-account', role: 'r', secret: 'key' },
    ],
  ])('%s', (_, document) => {
    expect(() => targetOf(document)).toThrow()
  })
})
