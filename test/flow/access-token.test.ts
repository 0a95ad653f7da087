import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'
import { newPair, openJwe, prove } from '../support/dpop.ts'

const credential = `kind: Credential
name: orders-api
engine: transit
mount: transit
key: access-tokens
environment: prod
sensitivity: low
data: [orders]
audience: https://orders.example.com
scope: orders:read
claims: { tenant: "{{environment}}" }
ttl: { max: 10m }
`

for (const vault of ['embedded', 'bao-raft'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`an access token over ${vault}`, () => {
    let world: World
    beforeAll(async () => {
      world = await startWorld({
        vault,
        async policies(folder) {
          await folder.write('credentials/orders-api.yaml', credential)
          await folder.edit('workloads/checkout.yaml', (text) =>
            text.replace('credentials: [orders-ro]', 'credentials: [orders-ro, orders-api]'),
          )
        },
      })
    })
    afterAll(() => world?.stop())

    test('is taken by a service that knows the public keys alone, leads back to its grant, and says that nothing ends it', async () => {
      const { status, body } = await world.issue('checkout', {
        purpose: 'read-orders',
        credential: 'orders-api',
        ttl: '5m',
      })
      expect(status).toBe(201)
      expect(body).toMatchObject({ credential: 'orders-api', revocable: false, renewable: false, delivery: 'plain' })
      const keys = createRemoteJWKSet(new URL(`${world.url}/oauth2/jwks`))
      const { payload } = await jwtVerify(String(body.secret.access_token), keys, {
        typ: 'at+jwt',
        issuer: 'https://writ.example.com',
        audience: 'https://orders.example.com',
      })
      expect(payload).toMatchObject({ jti: body.grant, sub: 'checkout', scope: 'orders:read', tenant: 'prod' })
      expect(new Date((payload.exp ?? 0) * 1000).toISOString()).toBe(body.expires_at)

      const { jti } = decodeJwt(String(body.secret.access_token))
      const story = await world.entries({ id: String(jti) })
      expect(story.map(({ kind, owner }) => [kind, owner])).toContainEqual(['grant.issued', 'payments'])
      expect(JSON.stringify(await world.entries())).not.toContain(body.secret.access_token)
    })

    test('of a caller that proves a key is bound to that key, and can travel encrypted to it', async () => {
      const pair = await newPair()
      const token = await world.token('checkout')
      const target = { method: 'POST', url: 'https://writ.example.com/v1/credentials', token, now: Date.now() / 1000 }
      const { status, body } = await world.api('POST', '/v1/credentials', {
        token,
        headers: { dpop: await prove(pair, target) },
        body: { purpose: 'read-orders', credential: 'orders-api', delivery: 'jwe' },
      })
      expect(status).toBe(201)
      const { secret } = await openJwe(String(body.secret.jwe), pair)
      expect(secret.token_type).toBe('DPoP')
      expect(decodeJwt(String(secret.access_token)).cnf).toEqual({ jkt: pair.jkt })
    })

    test('cannot be asked for wrapped: policy offers one way only', async () => {
      const { status, body } = await world.issue('checkout', {
        purpose: 'read-orders',
        credential: 'orders-api',
        delivery: 'wrapped',
      })
      expect([status, body.code]).toEqual([400, 'request_invalid'])
    })

    test('its public keys are served to anybody, for some seconds, as a JWK Set without private members', async () => {
      const response = await fetch(`${world.url}/oauth2/jwks`)
      expect(response.status).toBe(200)
      expect(response.headers.get('content-type')).toBe('application/jwk-set+json')
      expect(response.headers.get('cache-control')).toBe('public, max-age=5')
      const { keys } = (await response.json()) as { keys: Record<string, unknown>[] }
      expect(keys).toEqual([
        {
          kty: 'EC',
          crv: 'P-256',
          x: expect.any(String),
          y: expect.any(String),
          kid: 'transit/access-tokens:1',
          alg: 'ES256',
          use: 'sig',
        },
      ])
    })
  })
}
