import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createTransport, type Transport } from '../../src/engines/transport.ts'
import { createVaultSession, type VaultSession } from '../../src/engines/vault-session.ts'
import { fakeClock } from '../support/clock.ts'
import { text } from '../support/vault-setup.ts'
import type { ContractWorld } from './engine-world.ts'

export function sessionContract(use: () => ContractWorld): void {
  const appRole = (clock = systemClock, transport?: Transport): VaultSession => {
    const { server, setUp } = use()
    const ids = async () => ({ roleId: setUp.roleId, secretId: new Secret(setUp.secretId) })
    const auth = { method: 'approle', ids } as const
    return createVaultSession({
      address: server.address,
      auth,
      clock,
      log: silentLog,
      ...(transport === undefined ? {} : { transport }),
    })
  }
  const order = () => use().order({ engine: 'database', role: 'orders-ro' })

  describe('the session', () => {
    test('logs in with AppRole, is ready, and mints', async () => {
      const session = appRole()
      await session.start()
      expect(session.ready()).toEqual({ ok: true, detail: 'logged in' })
      expect(present(session)).toBe(1)
      const engine = createEngines(session, systemClock).get('database')
      const minted = await engine?.mint(order())
      expect(minted?.secret.reveal().username).toBeTypeOf('string')
      await session.close()
    })

    test('renews its token in the background, again and again, and keeps it', async () => {
      const { server } = use()
      const clock = fakeClock(Date.now())
      const real = createTransport({ address: server.address, clock: systemClock, deadlineMs: 10_000 })
      const renewals: number[] = []
      const session = appRole(clock, {
        ...real,
        async send(call) {
          const answer = await real.send(call)
          if (call.uri.endsWith('/auth/token/renew-self')) renewals.push(answer.statusCode)
          return answer
        },
      })
      await session.start()
      const before = await accessorOf(session)
      // The AppRole gives tokens of one hour; two thirds of it is when renewal is due.
      for (const count of [1, 2, 3]) {
        await clock.advance(2_400_000)
        await expect.poll(() => renewals.length).toBe(count)
        await clock.advance(0)
      }
      expect(renewals).toEqual([200, 200, 200])
      expect(await accessorOf(session)).toBe(before)
      expect(present(session)).toBe(1)
      expect(session.ready().ok).toBe(true)
      await session.close()
    })

    test('a wrong secret id leaves it unready with a reason, and calls answer that Vault is unavailable', async () => {
      const { server, setUp, failure } = use()
      const secretId = new Secret('canary-wrong-secret-id')
      const session = createVaultSession({
        address: server.address,
        auth: { method: 'approle', ids: async () => ({ roleId: setUp.roleId, secretId }) },
        clock: systemClock,
        log: silentLog,
      })
      await session.start()
      expect(session.ready().ok).toBe(false)
      expect(session.ready().detail).toContain('auth/approle/login')
      const error = await failure(session.read('database/creds/orders-ro', { mints: true }))
      expect(error).toMatchObject({ code: 'vault_unavailable', kind: 'not_logged_in' })
      await session.close()
    })

    test('a token that Vault dropped is replaced by a new login within the same call', async () => {
      const { root } = use()
      const session = appRole(fakeClock(Date.now()))
      await session.start()
      await root('POST', 'auth/token/revoke-accessor', { accessor: await accessorOf(session) })
      const clockless = createEngines(session, systemClock).get('database')
      // The session looked at its token a moment ago by its own, standing clock; a denial makes it look again.
      const minted = await clockless?.mint(order())
      expect(minted?.handle).toBeDefined()
      expect(present(session)).toBe(2)
      await session.close()
    })

    test('a dead given token is unavailability, not a missing policy line', async () => {
      const { server, root, failure } = use()
      const { body } = await root('POST', 'auth/token/create', { policies: ['writ-broker'], ttl: '5m' })
      const token = text(body, 'auth', 'client_token')
      use().canary(token)
      const session = createVaultSession({
        address: server.address,
        auth: { method: 'token', token: new Secret(token) },
        clock: systemClock,
        log: silentLog,
      })
      await session.start()
      await root('POST', 'auth/token/revoke', { token })
      const error = await failure(session.read('static/data/vendor/api'))
      expect(error).toMatchObject({ code: 'vault_unavailable', kind: 'not_logged_in' })
      expect(session.ready().ok).toBe(false)
      await session.close()
    })

    test('knows what it talks to', async () => {
      const health = await use().session.health()
      expect(health).toMatchObject({ reachable: true, sealed: false, standby: false })
      expect(health.kind).not.toBe('unknown')
      expect(health.version).not.toBe('')
      expect(Math.abs(health.clockSkewMs ?? 0)).toBeLessThanOrEqual(2_000)
    })
  })
}

/** The generation that mints. */
const present = (session: VaultSession): number | undefined =>
  session.generations().find(({ current }) => current)?.generation

async function accessorOf(session: VaultSession): Promise<string> {
  const { data } = await session.read('auth/token/lookup-self')
  if (typeof data?.accessor !== 'string') throw new Error('no accessor')
  return data.accessor
}
