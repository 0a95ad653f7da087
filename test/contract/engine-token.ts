import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import type { LeaseHandle, Minted } from '../../src/engines/engine.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createVaultSession } from '../../src/engines/vault-session.ts'
import { eventually } from '../support/child.ts'
import { type VaultApi, vaultApi } from '../support/vault-api.ts'
import { text } from '../support/vault-setup.ts'
import { type ContractWorld, field, handleOf, unwrap } from './engine-world.ts'

const reader = {
  engine: 'token',
  mount: 'auth/token',
  role: 'app-reader',
  params: { policies: ['app-reader'] },
} as const

export function tokenContract(use: () => ContractWorld): void {
  const holding = (minted: Minted): VaultApi => vaultApi(use().server.address, field(minted, 'client_token'))
  const reads = async (api: VaultApi): Promise<number> => (await api('GET', 'static/data/vendor/api')).status
  const lookedUp = async (handle: LeaseHandle): Promise<Record<string, unknown>> => {
    if (handle.type !== 'accessor') throw new Error('not an accessor')
    const { body } = await use().root('POST', 'auth/token/lookup-accessor', { accessor: handle.id })
    return (body as { data: Record<string, unknown> }).data
  }
  const accessors = async (): Promise<readonly string[]> =>
    ((await use().root('LIST', 'auth/token/accessors')).body as { data: { keys: string[] } }).data.keys.toSorted()

  describe('token', () => {
    test('a token may what its policies say and nothing else, and is known by its digest', async () => {
      const { engine, mint, order } = use()
      const minted = await mint(order(reader, { ttlSeconds: 300 }))
      expect(Object.keys(minted.secret.reveal())).toEqual(['client_token', 'policies'])
      expect(await reads(holding(minted))).toBe(200)
      expect((await holding(minted)('GET', 'auth/token/lookup-self')).status).toBe(403)
      expect((await holding(minted)('GET', 'database/creds/orders-ro')).status).toBe(403)
      const digest = createHash('sha256').update(field(minted, 'client_token')).digest('hex')
      expect(minted.publicIds).toEqual([{ type: 'token_sha256', value: digest }])
      expect(minted.renewable).toBe(false)
      expect(engine('token').revocable(order(reader).target)).toBe(true)
      expect(await engine('token').leases(order(reader).target)).toBeUndefined()
    })

    test('it is a child of the broker that lives as long as was decided, and says for whom it was made', async () => {
      const { mint, order, session } = use()
      const minted = await mint(order(reader, { ttlSeconds: 45 }))
      const made = await lookedUp(handleOf(minted))
      expect(made).toMatchObject({ orphan: false, renewable: false, explicit_max_ttl: 45, policies: ['app-reader'] })
      expect(made.meta).toMatchObject({ workload: 'checkout', purpose: 'read-orders' })
      expect(made.ttl).toBeLessThanOrEqual(45)
      expect(minted.expiresAtMs).toBeLessThanOrEqual(Date.now() + 45_000)
      expect(minted.expiresAtMs).toBeGreaterThan(Date.now() + 35_000)
      expect(minted.generation).toBe(session.generations().at(-1)?.generation)
    })

    test('one with a number of uses ends with the last of them', async () => {
      const { engine, mint, order } = use()
      const minted = await mint(order({ ...reader, params: { policies: ['app-reader'], uses: 2 } }))
      const api = holding(minted)
      expect([await reads(api), await reads(api), await reads(api)]).toEqual([200, 200, 403])
      // Vault removes it right after, and knows it until then.
      const gone = async () => ((await engine('token').lookUp(handleOf(minted))).live ? undefined : true)
      expect(await eventually(gone, 'Vault forgets the token')).toBe(true)
    })

    test('a role may lower the number of uses', async () => {
      const { mint, order } = use()
      const params = { policies: ['app-reader'], uses: 50 }
      const api = holding(await mint(order({ ...reader, role: 'sparing', params })))
      expect([await reads(api), await reads(api), await reads(api)]).toEqual([200, 200, 403])
    })

    test('it is refused once revoked, by Vault and when asked after; revoking again succeeds', async () => {
      const { engine, mint, order } = use()
      const minted = await mint(order(reader))
      const api = holding(minted)
      expect(await engine('token').lookUp(handleOf(minted))).toMatchObject({ live: true })
      await engine('token').revoke(handleOf(minted))
      expect(await reads(api)).toBe(403)
      expect(await engine('token').lookUp(handleOf(minted))).toEqual({ live: false, endedAtMs: undefined })
      await engine('token').revoke(handleOf(minted))
    })

    test('one that nobody revokes ends when the grant ends', async () => {
      const { mint, order } = use()
      const api = holding(await mint(order(reader, { ttlSeconds: 2 })))
      const refused = async () => ((await reads(api)) === 403 ? true : undefined)
      expect(await eventually(refused, 'Vault refuses the token')).toBe(true)
    })

    test('it ends with the token of the broker', async () => {
      const { order, root, server } = use()
      const body = { policies: ['writ-broker'], ttl: '1h', no_default_policy: true }
      const parent = text((await root('POST', 'auth/token/create', body)).body, 'auth', 'client_token')
      const auth = { method: 'token' as const, token: new Secret(parent) }
      const session = createVaultSession({ address: server.address, auth, clock: systemClock, log: silentLog })
      const minted = await createEngines(session, systemClock).get('token')?.mint(order(reader))
      await session.close()
      if (minted === undefined) throw new Error('no token engine')
      expect(await reads(holding(minted))).toBe(200)
      await root('POST', 'auth/token/revoke', { token: parent })
      const refused = async () => ((await reads(holding(minted))) === 403 ? true : undefined)
      expect(await eventually(refused, 'Vault refuses the child')).toBe(true)
    })

    test('a token that would outlive the token of the broker is ended and handed to nobody, wrapped or not', async () => {
      const { engine, order, failure } = use()
      const before = await accessors()
      for (const delivery of ['plain', 'wrapped'] as const) {
        const error = await failure(engine('token').mint(order({ ...reader, role: 'orphaning' }, { delivery })))
        expect(error).toMatchObject({ code: 'engine_refused' })
        expect(String(error)).toContain('orphan=false')
      }
      // What is left of the wrapped one is the wrapping token, with a dead token inside.
      for (const id of (await accessors()).filter((accessor) => !before.includes(accessor))) {
        expect(await lookedUp({ type: 'accessor', id })).toMatchObject({ policies: ['response-wrapping'] })
      }
    })

    test('a policy that the role does not allow, and a role that the broker may not use, are refused', async () => {
      const { engine, order, failure } = use()
      const other = order({ ...reader, params: { policies: ['writ-broker'] } })
      expect(await failure(engine('token').mint(other))).toMatchObject({ code: 'engine_refused' })
      const denied = await failure(engine('token').mint(order({ ...reader, role: 'nonesuch' })))
      expect(String(denied)).toContain('path "auth/token/create/nonesuch" { capabilities = ["update"] }')
    })

    test.each(['../create-orphan', 'app-reader?x=1', '', 'a b'])('the role %j never becomes a path', async (role) => {
      const { engine, order, failure } = use()
      const error = await failure(engine('token').mint(order({ ...reader, role })))
      expect(String(error)).toContain('is not a path of plain segments')
    })
  })

  describe('token, wrapped', () => {
    test('the broker never sees the token, ends it by its accessor, and keeps the accessor to itself', async () => {
      const { engine, mint, order } = use()
      const minted = await mint(order(reader, { delivery: 'wrapped' }))
      expect(Object.keys(minted.secret.reveal()).toSorted()).toEqual([
        'accessor',
        'creation_path',
        'creation_time',
        'token',
        'ttl',
      ])
      expect(minted.publicIds).toEqual([{ type: 'wrapping_accessor', value: field(minted, 'accessor') }])
      const opened = await unwrap(use(), minted)
      const token = text(opened.body, 'auth', 'client_token')
      use().canary(token)
      const api = vaultApi(use().server.address, token)
      expect(await reads(api)).toBe(200)
      expect(await lookedUp(handleOf(minted))).toMatchObject({ accessor: text(opened.body, 'auth', 'accessor') })
      await engine('token').revoke(handleOf(minted))
      expect(await reads(api)).toBe(403)
    })
  })
}
