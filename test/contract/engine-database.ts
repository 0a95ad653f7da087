import { describe, expect, test } from 'vitest'
import { BrokerFault } from '../../src/base/errors.ts'
import { eventually } from '../support/child.ts'
import { text } from '../support/vault-setup.ts'
import { type ContractWorld, field, handleOf, listedBy, unwrap } from './engine-world.ts'

const ordersRo = { engine: 'database', role: 'orders-ro' } as const

export function databaseContract(use: () => ContractWorld): void {
  const leaseTtl = async (id: string): Promise<number> => {
    const { body } = await use().root('POST', 'sys/leases/lookup', { lease_id: id })
    return (body as { data: { ttl: number } }).data.ttl
  }
  const leaseId = (minted: Awaited<ReturnType<ContractWorld['mint']>>): string => {
    const handle = handleOf(minted)
    if (handle.type !== 'lease') throw new Error('not a lease')
    return handle.id
  }

  describe('database', () => {
    test('a minted user logs in to PostgreSQL, and is refused once revoked; revoking again succeeds', async () => {
      const { engine, mint, order, postgres } = use()
      const minted = await mint(order(ordersRo))
      const [username, password] = [field(minted, 'username'), field(minted, 'password')]
      expect(minted.publicIds).toEqual([{ type: 'database_user', value: username }])
      expect(engine('database').revocable(order(ordersRo).target)).toBe(true)
      expect(await postgres.canLogIn(username, password)).toBe(true)
      await engine('database').revoke(handleOf(minted))
      expect(await postgres.canLogIn(username, password)).toBe(false)
      await engine('database').revoke(handleOf(minted))
    })

    test('Vault itself ends the user when the grant ends, even where the role would let it live longer', async () => {
      const { mint, order } = use()
      const beforeMs = Date.now()
      const minted = await mint(order(ordersRo, { ttlSeconds: 90 }))
      expect(await leaseTtl(leaseId(minted))).toBeLessThanOrEqual(90)
      expect(minted.expiresAtMs).toBeGreaterThanOrEqual(beforeMs + 89_000)
      expect(minted.expiresAtMs).toBeLessThanOrEqual(Date.now() + 90_000)
    })

    test('a lease that starts shorter than the grant is extended to it, as far as the role allows', async () => {
      const { mint, order } = use()
      const withinMs = 5_000
      const extended = await mint(order(ordersRo, { ttlSeconds: 1800 }))
      expect(Math.abs((extended.expiresAtMs ?? 0) - (Date.now() + 1_800_000))).toBeLessThan(withinMs)
      const bounded = await mint(order(ordersRo, { ttlSeconds: 7200 }))
      expect(Math.abs((bounded.expiresAtMs ?? 0) - (Date.now() + 3_600_000))).toBeLessThan(withinMs)
      expect(bounded.renewable).toBe(true)
    })

    test('a user that nobody revokes is ended by Vault when the grant ends', async () => {
      const { mint, order, postgres } = use()
      const plain = await mint(order(ordersRo, { ttlSeconds: 2 }))
      const wrapped = await unwrap(use(), await mint(order(ordersRo, { ttlSeconds: 2, delivery: 'wrapped' })))
      const users = [
        [field(plain, 'username'), field(plain, 'password')],
        [text(wrapped.body, 'data', 'username'), text(wrapped.body, 'data', 'password')],
      ] as const
      for (const [username, password] of users) {
        const refused = async () => ((await postgres.canLogIn(username, password)) ? undefined : true)
        expect(await eventually(refused, 'PostgreSQL refuses the user')).toBe(true)
      }
    })

    test('renewing extends the lease in Vault and says until when', async () => {
      const { engine, mint, order } = use()
      const minted = await mint(order(ordersRo, { ttlSeconds: 60 }))
      const renewed = await engine('database').renew(handleOf(minted), 1200)
      expect(await leaseTtl(leaseId(minted))).toBeGreaterThan(1100)
      expect(renewed.expiresAtMs).toBeGreaterThan(Date.now() + 1_100_000)
      expect(renewed.expiresAtMs).toBeLessThanOrEqual(Date.now() + 1_200_000)
    })

    test('renewing what has ended is refused, not answered with a new life', async () => {
      const { engine, mint, order, failure } = use()
      const minted = await mint(order(ordersRo))
      await engine('database').revoke(handleOf(minted))
      const error = await failure(engine('database').renew(handleOf(minted), 600))
      expect(error).toMatchObject({ code: 'engine_refused', errorClass: 'lease not found' })
    })

    test('live leases of the role are listed, ended ones are not', async () => {
      const { engine, mint, order } = use()
      const minted = await mint(order(ordersRo))
      const listed = async (): Promise<readonly string[]> =>
        (await listedBy(engine('database'), order(ordersRo).target)).map((handle) => JSON.stringify(handle))
      expect(await listed()).toContain(JSON.stringify(handleOf(minted)))
      await engine('database').revoke(handleOf(minted))
      expect(await listed()).not.toContain(JSON.stringify(handleOf(minted)))
    })

    test('Vault says when it made a lease, and that it is over once it is', async () => {
      const { engine, mint, order } = use()
      const beforeMs = Date.now()
      const minted = await mint(order(ordersRo))
      const state = await engine('database').lookUp(handleOf(minted))
      if (!state.live) throw new Error('it lives')
      // Vault may run by seconds.
      expect(state.issuedAtMs).toBeGreaterThanOrEqual(beforeMs - 1_000)
      expect(state.issuedAtMs).toBeLessThanOrEqual(Date.now() + 1_000)
      await engine('database').revoke(handleOf(minted))
      expect(await engine('database').lookUp(handleOf(minted))).toEqual({ live: false, endedAtMs: undefined })
    })

    test('of a wrapped user the token behind it says whether it lives, whoever ended it', async () => {
      const { engine, mint, order, root } = use()
      const beforeMs = Date.now()
      const handle = handleOf(await mint(order(ordersRo, { delivery: 'wrapped' })))
      if (handle.type !== 'accessor') throw new Error('not an accessor')
      const state = await engine('database').lookUp(handle)
      if (!state.live) throw new Error('it lives')
      expect(state.issuedAtMs).toBeGreaterThanOrEqual(beforeMs - 1_000)
      await root('POST', 'auth/token/revoke-accessor', { accessor: handle.id })
      expect(await engine('database').lookUp(handle)).toEqual({ live: false, endedAtMs: undefined })
      await engine('database').revoke(handle)
    })

    test('a look-up that Vault denies says nothing about the lease', async () => {
      const { reduced, engine, mint, order, failure, root } = use()
      const handle = handleOf(await mint(order(ordersRo)))
      const { body } = await root('GET', 'sys/policies/acl/writ-reduced')
      const policy = text(body, 'data', 'policy')
      await root('PUT', 'sys/policies/acl/writ-reduced', {
        policy: policy.replace(/^path "sys\/leases\/lookup".*$/m, ''),
      })
      const error = await failure(reduced('database').lookUp(handle))
      await root('PUT', 'sys/policies/acl/writ-reduced', { policy })
      expect(error).toMatchObject({ code: 'engine_refused', kind: 'denied' })
      expect(await engine('database').lookUp(handle)).toMatchObject({ live: true })
    })

    test('a role without leases lists none', async () => {
      const { engine, order } = use()
      const { engine: kind, mount, credential, params } = order(ordersRo).target
      const target = { engine: kind, mount, credential, params, role: 'orders-ro' }
      for (const handle of await listedBy(engine('database'), target)) await engine('database').revoke(handle)
      expect(await listedBy(engine('database'), target)).toEqual([])
    })

    test('a revocation that the database refuses is a fault, and the lease stays listed', async () => {
      const { engine, mint, order, failure, root } = use()
      const minted = await mint(order({ engine: 'database', role: 'stuck' }))
      const error = await failure(engine('database').revoke(handleOf(minted)))
      expect(error).toBeInstanceOf(BrokerFault)
      expect(await leaseTtl(leaseId(minted))).toBeGreaterThan(0)
      await root('PUT', 'database/roles/stuck', { db_name: 'orders', creation_statements: ['SELECT 1'] })
    })

    test('a missing permission names the policy line that is missing', async () => {
      const { reduced, order, failure } = use()
      const error = await failure(reduced('database').mint(order(ordersRo)))
      expect(error).toMatchObject({ code: 'engine_refused', kind: 'denied' })
      expect(String(error)).toContain('path "database/creds/orders-ro" { capabilities = ["read"] }')
      const listing = await failure(reduced('database').leases(order(ordersRo).target))
      expect(String(listing)).toContain(
        'path "sys/leases/lookup/database/creds/orders-ro/" { capabilities = ["list", "sudo"] }',
      )
    })

    test('a role that does not exist is a refusal that says so', async () => {
      const { engine, order, failure } = use()
      // The broker may not read it either, as it should be; a token that may everything shows the other answer.
      const error = await failure(engine('database').mint(order({ engine: 'database', role: 'nonesuch' })))
      expect(error).toMatchObject({ code: 'engine_refused' })
    })

    test.each(['../../sys/seal', 'orders-ro?x=1', 'orders-ro/../stuck', '', 'a b', '%2e%2e', 'orders\nro'])(
      'the role %j never becomes a path',
      async (role) => {
        const { engine, order, failure } = use()
        const error = await failure(engine('database').mint(order({ engine: 'database', role })))
        expect(error).toMatchObject({ code: 'engine_refused' })
        expect(String(error)).toContain('is not a path of plain segments')
      },
    )
  })

  describe('database, wrapped', () => {
    test('the broker holds no password; the caller unwraps once, and revoking ends the user', async () => {
      const { engine, mint, order, postgres, root } = use()
      const minted = await mint(order(ordersRo, { delivery: 'wrapped' }))
      const fields = minted.secret.reveal()
      expect(Object.keys(fields).sort()).toEqual(['accessor', 'creation_path', 'creation_time', 'token', 'ttl'])
      expect(minted.publicIds).toEqual([{ type: 'wrapping_accessor', value: field(minted, 'accessor') }])
      expect(minted.renewable).toBe(false)

      const opened = await unwrap(use(), minted)
      expect(opened.status).toBe(200)
      const [username, password] = [text(opened.body, 'data', 'username'), text(opened.body, 'data', 'password')]
      use().canary(password)
      expect((await unwrap(use(), minted)).status).toBe(400)
      expect(await postgres.canLogIn(username, password)).toBe(true)

      await engine('database').revoke(handleOf(minted))
      const refused = async () => ((await postgres.canLogIn(username, password)) ? undefined : true)
      expect(await eventually(refused, 'PostgreSQL refuses the user')).toBe(true)
      const lease = await root('POST', 'sys/leases/lookup', { lease_id: text(opened.body, 'lease_id') })
      expect(lease.status).toBe(400)
      await engine('database').revoke(handleOf(minted))
    })

    test('the token that mints ends with the grant and carries its name', async () => {
      const { mint, order, root } = use()
      const minted = await mint(order(ordersRo, { delivery: 'wrapped', ttlSeconds: 45 }))
      const handle = handleOf(minted)
      expect(handle.type).toBe('accessor')
      const { body } = await root('POST', 'auth/token/lookup-accessor', { accessor: 'id' in handle ? handle.id : '' })
      const { ttl, meta, policies } = (body as { data: { ttl: number; meta: object; policies: string[] } }).data
      expect(ttl).toBeLessThanOrEqual(45)
      expect(policies).toEqual(['writ-wrapped'])
      expect(meta).toMatchObject({ workload: 'checkout', purpose: 'read-orders' })
    })

    test('listing leases does not take the wrapping token of a secret nobody fetched yet for a lease', async () => {
      const { engine, mint, order } = use()
      const before = (await listedBy(engine('database'), order(ordersRo).target)).length
      const minted = await mint(order(ordersRo, { delivery: 'wrapped' }))
      expect((await listedBy(engine('database'), order(ordersRo).target)).length).toBe(before + 1)
      expect((await unwrap(use(), minted)).status).toBe(200)
    })

    test('a secret revoked before it was fetched is dead', async () => {
      const { engine, mint, order, postgres } = use()
      const minted = await mint(order(ordersRo, { delivery: 'wrapped' }))
      await engine('database').revoke(handleOf(minted))
      const opened = await unwrap(use(), minted)
      if (opened.status !== 200) return expect(opened.status).toBe(400)
      const [username, password] = [text(opened.body, 'data', 'username'), text(opened.body, 'data', 'password')]
      const refused = async () => ((await postgres.canLogIn(username, password)) ? undefined : true)
      expect(await eventually(refused, 'PostgreSQL refuses the user')).toBe(true)
    })
  })
}
