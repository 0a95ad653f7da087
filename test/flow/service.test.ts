import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { issuedCredentialSchema } from '../../src/contract/credential.ts'
import { grantSchema } from '../../src/contract/grant.ts'
import { baoAvailable } from '../support/bao.ts'
import { startWorld, type World } from '../support/broker.ts'

const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

for (const vault of ['embedded', 'bao-raft'] as const) {
  describe.skipIf(vault !== 'embedded' && !baoAvailable())(`a service over ${vault}`, () => {
    let world: World
    beforeAll(async () => {
      world = await startWorld({ vault })
    })
    afterAll(() => world?.stop())

    test('holds a database login that works until it is handed back, and every step is on record', async () => {
      const { status, headers, body } = await world.issue('checkout', { purpose: 'read-orders', ttl: '15m' })
      expect(status).toBe(201)
      expect(headers.get('cache-control')).toBe('no-store')
      expect(headers.get('content-type')).toBe('application/json')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(issuedCredentialSchema.strict().safeParse(body).error).toBeUndefined()
      expect(body).toEqual({
        grant: expect.stringMatching(/^gr_[0-9a-hjkmnp-tv-z]{26}$/),
        workload: 'checkout',
        purpose: 'read-orders',
        credential: 'orders-ro',
        environment: 'prod',
        issued_at: expect.stringMatching(time),
        expires_at: expect.stringMatching(time),
        ttl_capped_by: [],
        renewable: true,
        revocable: true,
        delivery: 'plain',
        secret: { username: expect.any(String), password: expect.any(String) },
        ledger: { index: expect.any(Number), receipt: `/v1/ledger/entries/${body.ledger.index}/receipt` },
      })
      const lifeMs = Date.parse(body.expires_at) - Date.parse(body.issued_at)
      expect(lifeMs).toBeLessThanOrEqual(900_000)
      expect(lifeMs).toBeGreaterThan(880_000)
      expect(await world.login(body.secret)).toBe('in')

      const seen = await world.api('GET', `/v1/grants/${body.grant}`, { as: 'checkout' })
      expect(grantSchema.strict().safeParse(seen.body).error).toBeUndefined()
      expect(seen.body).toMatchObject({
        status: 'active',
        outcome: null,
        owner: 'payments',
        task: null,
        ids: [{ type: 'database_user', value: body.secret.username }],
        ledger: { intent: body.ledger.index - 1, issued: body.ledger.index, ended: null },
      })

      const ended = await world.api('POST', `/v1/grants/${body.grant}/revoke`, {
        as: 'checkout',
        body: { reason: 'done' },
      })
      expect(ended.status).toBe(200)
      expect(ended.body).toEqual({
        grant: body.grant,
        credential: 'orders-ro',
        outcome: 'revoked',
        latency_ms: expect.any(Number),
      })
      expect(await world.login(body.secret)).toMatch(/^28/)
      expect(await world.leases('orders-ro')).toEqual([])

      const story = await world.entries({ grant: body.grant })
      expect(story.map(({ kind }) => kind)).toEqual(['grant.intent', 'grant.issued', 'grant.ending', 'grant.ended'])
      expect(story.at(-1)).toMatchObject({ cause: 'handed_back', outcome: 'revoked', owner: 'payments' })
    })
  })
}
