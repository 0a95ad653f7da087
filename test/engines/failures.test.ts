import { inspect } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import type { MintOrder } from '../../src/engines/engine.ts'
import { AmbiguousMint } from '../../src/engines/faults.ts'
import { createEngines, type Engines } from '../../src/engines/registry.ts'
import { createVaultSession } from '../../src/engines/vault-session.ts'
import { expiringClock } from '../support/clock.ts'
import { targetOf } from '../support/credential-order.ts'
import { type Answer, json, type ScriptedVault, scriptedVault, silence } from '../support/scripted-vault.ts'

interface Row {
  readonly engine: string
  /** The Credential, where its engine is told by it how to ask. */
  readonly document?: Readonly<Record<string, unknown>>
  readonly params?: MintOrder['target']['params']
  readonly callerParams?: Readonly<Record<string, string>>
  /** Where the engine mints. */
  readonly path: string
  /** Something may be left in Vault when the answer is lost, so that reconciling must look; not where only a stored value is read. */
  readonly makes: boolean
  /** What was made needs the answer to be of use, so one that was read and not handed on leaves nothing. */
  readonly opensNothing?: true
}

const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFT/iXu5jk79u2m3P/6mviWVjXYjR9qR3KVlMZQkVB2n'

/** One line for each way in which an engine mints. A new engine is a line here, or the first test fails. */
const rows: readonly Row[] = [
  { engine: 'database', path: 'database/creds/role', makes: true },
  { engine: 'database', params: { staticRole: true }, path: 'database/static-creds/role', makes: false },
  {
    engine: 'aws',
    document: { engine: 'aws', mount: 'aws', role: 'role', credential_type: 'iam_user' },
    path: 'aws/creds/role',
    makes: true,
  },
  {
    engine: 'azure',
    document: { engine: 'azure', mount: 'azure', role: 'role' },
    path: 'azure/creds/role',
    makes: true,
  },
  {
    engine: 'gcp',
    document: { engine: 'gcp', mount: 'gcp', account: 'roleset', role: 'role', secret: 'key' },
    path: 'gcp/roleset/role/key',
    makes: true,
  },
  {
    engine: 'kubernetes',
    document: { engine: 'kubernetes', mount: 'kubernetes', role: 'role' },
    path: 'kubernetes/creds/role',
    makes: true,
  },
  { engine: 'ldap', document: { engine: 'ldap', mount: 'ldap', role: 'role' }, path: 'ldap/creds/role', makes: true },
  {
    engine: 'leased',
    document: { engine: 'leased', mount: 'nomad', method: 'read', path: 'creds/role', response: { fields: ['id'] } },
    path: 'nomad/creds/role',
    makes: true,
  },
  {
    engine: 'token',
    document: { engine: 'token', role: 'role', policies: ['reading'] },
    path: 'auth/token/create/role',
    makes: true,
  },
  { engine: 'transit', params: { audience: 'https://a.example' }, path: 'transit/keys/role', makes: false },
  { engine: 'kv', path: 'kv/data/role', makes: false },
  { engine: 'pki', path: 'pki/issue/role', makes: true },
  { engine: 'rabbitmq', path: 'rabbitmq/creds/role', makes: true },
  { engine: 'ssh', path: 'ssh/sign/role', callerParams: { public_key: publicKey }, makes: true, opensNothing: true },
  // What it asks first is the key; a signature opens nothing until the token is put together.
  { engine: 'transit', params: { audience: 'https://a.example' }, path: 'transit/keys/role', makes: false },
]

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

/** Engines over a server that gives that answer to every mint. */
async function world(answer: Answer, clock: Clock = systemClock): Promise<{ engines: Engines; server: ScriptedVault }> {
  const server = await scriptedVault((response, request) => {
    const isOwn = request.url.startsWith('/v1/sys/') || /^\/v1\/auth\/.*self$/.test(request.url)
    return (isOwn ? json(200, { data: { ttl: 0 } }) : answer)(response, request)
  })
  const session = createVaultSession({
    address: server.address,
    auth: { method: 'token', token: new Secret('canary-token') },
    clock,
    log: silentLog,
  })
  stops.push(session.close, server.stop)
  return { engines: createEngines(session, clock, { issuer: 'https://writ.example.com' }), server }
}

const orderOf = ({ engine, document, params = {}, callerParams = {} }: Row): MintOrder => ({
  grant: 'gr_01jd3x5zq8v7n2k4m6p9r0t1w3',
  target:
    document === undefined ? { credential: 'c', engine, mount: engine, role: 'role', params } : targetOf(document),
  names: { workload: 'w', grant: 'gr_1', purpose: 'p', environment: 'prod', owner: 'o', task: '' },
  callerParams,
  ttlSeconds: 60,
  delivery: 'plain',
})

async function failureOf(row: Row, answer: Answer, hangs = false) {
  const clock = expiringClock()
  const { engines, server } = await world(answer, hangs ? clock : systemClock)
  const engine = engines.get(row.engine)
  if (engine === undefined) throw new Error(`no engine ${row.engine}`)
  const tried = () => server.seen.filter(({ url }) => url.startsWith(`/v1/${row.path}`)).length
  const minting: Promise<unknown> = engine.mint(orderOf(row)).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (hangs) {
    await expect.poll(tried).toBe(1)
    clock.expire()
  }
  const error = await minting
  expect(inspect(error, { depth: 12, showHidden: true })).not.toContain('canary')
  return { error, tries: tried() }
}

const refusals: readonly (readonly [name: string, answer: Answer, fault: object])[] = [
  ['a role that is missing', json(400, { errors: ['unknown role: canary'] }), { kind: 'rejected' }],
  ['a mount that is missing', json(404, { errors: ['no handler for route "canary"'] }), { kind: 'rejected' }],
  [
    'a path that is denied',
    json(403, { errors: ['1 error occurred:\n\t* permission denied\n\n'] }),
    { kind: 'denied' },
  ],
]

/** What Vault may have carried out before it answered so. */
const lost: readonly (readonly [name: string, answer: Answer, fault: object])[] = [
  [
    'an answer that is not JSON',
    (response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{"canary"'),
    { kind: 'unreadable' },
  ],
  ['an answer without end', json(200, { data: { canary: 'x'.repeat(1_100_000) } }), { kind: 'oversized' }],
]

test('every engine has a line here', async () => {
  const { engines } = await world(silence)
  expect([...new Set(rows.map(({ engine }) => engine))].sort()).toEqual([...engines.kinds].sort())
})

describe.each(rows.map((row) => [row.path, row] as const))('%s', (_, row) => {
  test.each(refusals)('%s is a refusal: nothing was made', async (_name, answer, fault) => {
    const { error, tries } = await failureOf(row, answer)
    expect(error).toMatchObject({ code: 'engine_refused', ...fault })
    expect(error).not.toBeInstanceOf(AmbiguousMint)
    expect(tries).toBe(1)
  })

  test.each(lost)('%s is left to reconciling where something may have been made', async (_name, answer, fault) => {
    const { error, tries } = await failureOf(row, answer)
    expect(error).toMatchObject({ code: 'vault_unavailable', ...fault })
    expect(error instanceof AmbiguousMint).toBe(row.makes)
    expect(tries).toBe(1)
  })

  test('an answer that holds no secret is handed to nobody', async () => {
    const { error, tries } = await failureOf(row, json(200, { data: { canary: 1 } }))
    expect(error).toMatchObject({ code: 'vault_unavailable', kind: 'unreadable' })
    expect(error instanceof AmbiguousMint).toBe(row.makes && row.opensNothing !== true)
    expect(tries).toBe(1)
  })

  test('a server that hangs is given up at the deadline, and not asked again', async () => {
    const { error, tries } = await failureOf(row, silence, true)
    expect(error).toMatchObject({ code: 'vault_unavailable', kind: 'timeout' })
    expect(error instanceof AmbiguousMint).toBe(row.makes)
    expect(tries).toBe(1)
  })
})
