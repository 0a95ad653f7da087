import { inspect } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import type { MintOrder } from '../../src/engines/engine.ts'
import { AmbiguousMint } from '../../src/engines/faults.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createVaultSession } from '../../src/engines/vault-session.ts'
import { baoAvailable, startBao } from '../support/bao.ts'
import { orderFor } from '../support/credential-order.ts'
import { type Script, scriptedEngines } from '../support/scripted-engines.ts'
import { hangUp, json, type ScriptedVault } from '../support/scripted-vault.ts'
import { strictly, vaultApi } from '../support/vault-api.ts'
import { text } from '../support/vault-setup.ts'

const reader = { engine: 'token', role: 'reader', policies: ['reading'], uses: 5 } as const

const auth = {
  client_token: 'canary-child',
  accessor: 'canary-accessor',
  policies: ['reading'],
  lease_duration: 60,
  renewable: false,
  orphan: false,
  num_uses: 5,
}
const lookedUp = { policies: ['reading'], orphan: false, renewable: false, ttl: 59, num_uses: 5 }
const wrapInfo = {
  token: 'canary-wrapping',
  accessor: 'wrapping-accessor',
  ttl: 60,
  creation_time: '2026-01-01T00:00:00Z',
  creation_path: 'auth/token/create/reader',
  wrapped_accessor: 'canary-accessor',
}
const done = json(204, undefined)

async function mint(
  script: Script,
  delivery: MintOrder['delivery'] = 'plain',
): Promise<{ error: unknown; server: ScriptedVault; asked: readonly string[] }> {
  const whole = Object.entries(script).map(([path, answer]) => [`auth/token/${path}`, answer] as const)
  const { engines, server, stop } = await scriptedEngines(Object.fromEntries(whole))
  stops.push(stop)
  const engine = engines.get('token')
  const error = await engine?.mint(orderFor(reader, { ttlSeconds: 60, delivery })).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(inspect(error, { depth: 12, showHidden: true })).not.toContain('canary')
  const paths = server.seen
    .map(({ url }) => url.replace('/v1/auth/token/', ''))
    .filter((path) => !path.endsWith('health'))
  return { error, server, asked: paths }
}

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

/** Every way in which Vault may make another token than was asked for; `lookedUp` names what differs there. */
const deviations: readonly [string, Partial<typeof auth>, Record<string, unknown>, string][] = [
  ['more policies', { policies: ['reading', 'writing'] }, { identity_policies: ['writing'] }, 'does not name'],
  ['the root policy', { policies: ['root'] }, { policies: ['root'] }, 'does not name'],
  ['fewer policies', { policies: [] }, { policies: [] }, 'lacks policies'],
  ['no parent', { orphan: true }, { orphan: true }, 'orphan=false'],
  ['a life that can be renewed', { renewable: true }, { renewable: true }, 'could renew it'],
  ['a longer life', { lease_duration: 61 }, { ttl: 61 }, 'does not end within the 60 s'],
  ['no limit to its uses', { num_uses: 0 }, { num_uses: 0 }, 'not limited to 5 uses'],
  ['more uses', { num_uses: 6 }, { num_uses: 6 }, 'not limited to 5 uses'],
]

describe('a token that is not what was asked for is ended and handed to nobody', () => {
  test.each(deviations)('%s', async (_, made, __, why) => {
    const { error, server, asked } = await mint({
      'create/reader': json(200, { auth: { ...auth, ...made } }),
      'revoke-accessor': done,
    })
    expect(error).toMatchObject({ code: 'engine_refused' })
    expect(String(error)).toContain(why)
    expect(asked).toEqual(['create/reader', 'revoke-accessor'])
    expect(server.seen.at(-1)?.body).toBe('{"accessor":"canary-accessor"}')
  })

  test.each(deviations)('%s, wrapped', async (_, __, made, why) => {
    const { error, asked } = await mint(
      {
        'create/reader': json(200, { wrap_info: wrapInfo }),
        'lookup-accessor': json(200, { data: { ...lookedUp, ...made } }),
        'revoke-accessor': done,
      },
      'wrapped',
    )
    expect(error).toMatchObject({ code: 'engine_refused' })
    expect(String(error)).toContain(why)
    expect(asked).toEqual(['create/reader', 'lookup-accessor', 'revoke-accessor'])
  })

  test('policies of another namespace count', async () => {
    const data = { ...lookedUp, external_namespace_policies: { other: ['writing'] } }
    const { error } = await mint(
      {
        'create/reader': json(200, { wrap_info: wrapInfo }),
        'lookup-accessor': json(200, { data }),
        'revoke-accessor': done,
      },
      'wrapped',
    )
    expect(String(error)).toContain('does not name')
  })

  test('one that cannot be ended is of unknown outcome', async () => {
    const { error } = await mint({
      'create/reader': json(200, { auth: { ...auth, orphan: true } }),
      'revoke-accessor': json(500, { errors: ['canary'] }),
    })
    expect(error).toBeInstanceOf(AmbiguousMint)
  })

  test('one that Vault does not describe is ended', async () => {
    const { error, asked } = await mint(
      {
        'create/reader': json(200, { wrap_info: wrapInfo }),
        'lookup-accessor': json(200, { data: { canary: true } }),
        'revoke-accessor': done,
      },
      'wrapped',
    )
    expect(error).toMatchObject({ code: 'vault_unavailable', kind: 'unreadable' })
    expect(asked.at(-1)).toBe('revoke-accessor')
  })
})

describe('an answer without a token', () => {
  test.each([
    ['nothing', json(200, {})],
    ['no accessor, as of a batch token', json(200, { auth: { ...auth, accessor: '' } })],
    ['a broken connection', hangUp],
    ['a text', json(200, 'canary')],
  ])('%s is of unknown outcome, and asked once', async (_, answer) => {
    const { error, asked } = await mint({ 'create/reader': answer })
    expect(error).toBeInstanceOf(AmbiguousMint)
    expect(asked).toEqual(['create/reader'])
  })

  test('a wrapped one whose accessor Vault does not say is of unknown outcome', async () => {
    const { wrapped_accessor: _, ...rest } = wrapInfo
    const { error } = await mint({ 'create/reader': json(200, { wrap_info: rest }) }, 'wrapped')
    expect(error).toBeInstanceOf(AmbiguousMint)
  })

  test('a role that is not there is a refusal', async () => {
    const { error } = await mint({ 'create/reader': json(400, { errors: ['unknown role canary'] }) })
    expect(error).toMatchObject({ code: 'engine_refused', errorClass: 'unknown role' })
    expect(error).not.toBeInstanceOf(AmbiguousMint)
  })
})

describe.skipIf(!baoAvailable())('needs bao on PATH: a broker whose identity has policies of its own', () => {
  test.each(['plain', 'wrapped'] as const)('hands out no token that would have them too: %s', async (delivery) => {
    const bao = await startBao({ mode: 'dev' })
    stops.push(bao.stop)
    const api = strictly(vaultApi(bao.address, bao.rootToken))
    const paths = ['auth/token/create/reader', 'auth/token/lookup-accessor', 'auth/token/revoke-accessor']
    const policy = paths.map((path) => `path "${path}" { capabilities = ["update"] }`).join('\n')
    await api('POST', 'sys/policies/acl/writ-broker', { policy })
    for (const name of ['reading', 'writing']) {
      await api('POST', `sys/policies/acl/${name}`, { policy: 'path "static/*" { capabilities = ["read"] }' })
    }
    await api('POST', 'auth/token/roles/reader', { allowed_policies: 'reading', token_no_default_policy: true })
    await api('POST', 'sys/auth/approle', { type: 'approle' })
    await api('POST', 'auth/approle/role/writ', { token_policies: 'writ-broker', token_period: '1h' })
    const roleId = text((await api('GET', 'auth/approle/role/writ/role-id')).body, 'data', 'role_id')
    const secretId = text((await api('POST', 'auth/approle/role/writ/secret-id', {})).body, 'data', 'secret_id')
    const login = await api('POST', 'auth/approle/login', { role_id: roleId, secret_id: secretId })
    const session = createVaultSession({
      address: bao.address,
      auth: { method: 'token', token: new Secret(text(login.body, 'auth', 'client_token')) },
      clock: systemClock,
      log: silentLog,
    })
    stops.push(session.close)
    const engine = createEngines(session, systemClock).get('token')
    const order = orderFor(reader, { delivery })
    await expect(engine?.mint(order)).resolves.toMatchObject({ renewable: false })
    await api('POST', `identity/entity/id/${text(login.body, 'auth', 'entity_id')}`, { policies: ['writing'] })
    const error = await engine?.mint(order).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'engine_refused' })
    expect(String(error)).toContain('identity')
  })
})
