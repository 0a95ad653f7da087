import { createLocalJWKSet, jwtVerify } from 'jose'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { createTokenKeySet } from '../../src/engines/token-key-set.ts'
import { createTransitKeys } from '../../src/engines/transit-keys.ts'
import { fakeClock } from '../support/clock.ts'
import { type ContractWorld, contractIssuer, field } from './engine-world.ts'

const target = (type: string) =>
  ({ engine: 'transit', role: `tokens-${type}`, params: { audience: 'https://orders.example.com' } }) as const
const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'

export function transitContract(use: () => ContractWorld): void {
  describe('transit', () => {
    const setOf = async (role: string) => {
      const { session, order } = use()
      const keys = createTransitKeys(session, systemClock)
      const targets = () => [order({ engine: 'transit', role }).target]
      return createTokenKeySet({ keys, targets, clock: systemClock, log: silentLog }).current()
    }

    test.each(['ecdsa-p256', 'ecdsa-p521', 'ed25519', 'rsa-2048'])(
      'a key of type %s signs an access token that the published keys verify, and no other key',
      async (type) => {
        const { mint, order } = use()
        const params = { ...target(type).params, scope: 'orders:read', claim_tenant: '{{environment}}' }
        const minted = await mint(order({ ...target(type), params }, { ttlSeconds: 300 }))
        const token = field(minted, 'access_token')
        const { keys } = await setOf(`tokens-${type}`)
        const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet({ keys: [...keys] }), {
          typ: 'at+jwt',
          issuer: contractIssuer,
          audience: 'https://orders.example.com',
          requiredClaims: ['iss', 'exp', 'aud', 'sub', 'client_id', 'iat', 'jti'],
        })
        const { names } = order(target(type))
        expect(payload).toMatchObject({
          sub: 'checkout',
          client_id: 'checkout',
          jti: names.grant,
          scope: 'orders:read',
          tenant: 'prod',
          purpose: 'read-orders',
          owner: 'payments',
        })
        expect(payload).not.toHaveProperty('cnf')
        expect((payload.exp ?? 0) * 1000).toBe(minted.expiresAtMs)
        expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(300)
        expect(protectedHeader.kid).toBe(`transit/tokens-${type}:1`)
        expect(minted).toMatchObject({ handle: undefined, renewable: false })
        expect(minted.publicIds).toEqual([{ type: 'jwt_id', value: names.grant }])
        expect(keys.every((key) => !('d' in key))).toBe(true)
        const other = await setOf('tokens')
        await expect(jwtVerify(token, createLocalJWKSet({ keys: [...other.keys] }))).rejects.toThrow()
      },
    )

    test('for a caller that has proved a key, the token is bound to it; without one, a bound Credential is refused', async () => {
      const { engine, mint, order, failure } = use()
      const params = { ...target('ecdsa-p256').params, bound: true }
      const minted = await mint(order({ ...target('ecdsa-p256'), params }, { holder: { jkt } }))
      const { keys } = await setOf('tokens-ecdsa-p256')
      const { payload } = await jwtVerify(field(minted, 'access_token'), createLocalJWKSet({ keys: [...keys] }))
      expect(payload.cnf).toEqual({ jkt })
      expect(minted.secret.reveal().token_type).toBe('DPoP')
      const unbound = await failure(engine('transit').mint(order({ ...target('ecdsa-p256'), params })))
      expect(unbound).toMatchObject({ code: 'request_invalid' })
    })

    test('after a rotation both versions are published, and the new one signs once verifiers can know it', async () => {
      const { root, session, order } = use()
      const clock = fakeClock(Date.now())
      const keys = createTransitKeys(session, clock)
      const set = createTokenKeySet({
        keys,
        targets: () => [order({ engine: 'transit', role: 'tokens' }).target],
        clock,
        log: silentLog,
      })
      const signing = async () => (await keys.get('transit', 'tokens', 0)).signing.version
      expect(await signing()).toBe(1)
      expect((await root('POST', 'transit/keys/tokens/rotate', {})).status).toBeLessThan(300)
      expect(await signing()).toBe(1)
      await clock.advance(5_000)
      expect((await set.current()).keys.map(({ kid }) => kid)).toEqual(['transit/tokens:2', 'transit/tokens:1'])
      expect(await signing()).toBe(1)
      await clock.advance(5_000)
      expect(await signing()).toBe(2)
    })

    test('a key that is missing, a mount that is missing and wrapped delivery are refused', async () => {
      const { engine, order, failure } = use()
      const params = target('ecdsa-p256').params
      for (const [over, delivery] of [
        [{ role: 'absent' }, 'plain'],
        [{ mount: 'nowhere', role: 'tokens' }, 'plain'],
        [{ role: 'tokens' }, 'wrapped'],
      ] as const) {
        const error = await failure(engine('transit').mint(order({ engine: 'transit', params, ...over }, { delivery })))
        expect(error).toMatchObject({ code: 'engine_refused' })
      }
    })
  })
}
