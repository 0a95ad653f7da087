import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newId } from '../../src/base/ids.ts'
import { streamEvents, subjectEvents } from '../../src/contract/signal.ts'
import { loadPolicies } from '../../src/policy/load.ts'
import { folder } from '../policy/organisation.ts'
import { checkoutSub, clusterUrl, setClaims, signalsStage, withHub } from '../signals/stage.ts'
import { fakeClock } from '../support/clock.ts'
import { rawToken, type SigningKey, signingKey, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { openTestLedger, withFolder } from '../support/ledger.ts'

let issuer: TestIssuer
let forger: SigningKey
beforeAll(async () => {
  issuer = await startIssuer()
  forger = await signingKey('ES256', issuer.key().kid)
})
afterAll(() => issuer.close())

async function withStage(
  use: (stage: ReturnType<typeof signalsStage>, clock: ReturnType<typeof fakeClock>) => Promise<void>,
) {
  const loaded = await loadPolicies(await folder(withHub(issuer)))
  if (!loaded.ok) throw new Error('the policies do not load')
  const clock = fakeClock()
  await withFolder(async (dir) => {
    const ledger = await openTestLedger(dir, { clock })
    const stage = signalsStage(ledger, clock, () => loaded.set)
    await use(stage, clock)
    await stage.signals.stop()
    await ledger.close()
  })
}

const types = Object.values({ ...subjectEvents, ...streamEvents })
const subjectLike = fc.oneof(
  fc.constant({ format: 'iss_sub', iss: clusterUrl, sub: checkoutSub }),
  fc.record({
    format: fc.constantFrom('iss_sub', 'email', 'opaque', 'aliases', 'complex', 'did'),
    id: fc.string(),
    identifiers: fc.jsonValue(),
  }),
  fc.jsonValue(),
)
const claimsLike = fc.oneof(
  fc.record(
    {
      aud: fc.oneof(fc.constant('https://writ.example.com/signals'), fc.jsonValue()),
      iat: fc.oneof(fc.constant(fakeClock().now() / 1000), fc.jsonValue()),
      jti: fc.oneof(fc.string(), fc.jsonValue()),
      sub_id: subjectLike,
      events: fc.oneof(fc.dictionary(fc.constantFrom(...types), fc.jsonValue(), { maxKeys: 2 }), fc.jsonValue()),
      toe: fc.jsonValue(),
    },
    { requiredKeys: [] },
  ),
  fc.jsonValue(),
)
const headerLike = fc.oneof(
  fc.record({
    alg: fc.constantFrom('ES256', 'none', 'HS256', ''),
    typ: fc.constantFrom('secevent+jwt', 'JWT'),
    kid: fc.string(),
  }),
  fc.jsonValue(),
)
const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

test('nothing that the hub has not signed ends anything, whatever its bytes, and nothing makes the receiver throw', async () => {
  await withStage(async (stage, clock) => {
    const { grant } = await stage.issue()
    const bytes = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 400 }),
      fc.uint8Array({ maxLength: 400 }).map((some) => Buffer.from(some).toString('latin1')),
      fc
        .tuple(headerLike, claimsLike, fc.base64String())
        .map(([header, claims, signature]) => `${part(header)}.${part(claims)}.${signature}`),
      // Sound but for the key.
      claimsLike.map((claims) => {
        const whole =
          typeof claims === 'object' && claims !== null && !Array.isArray(claims)
            ? setClaims(issuer, clock, claims)
            : claims
        return rawToken(
          JSON.stringify({ alg: 'ES256', typ: 'secevent+jwt', kid: forger.kid }),
          JSON.stringify(whole),
          forger,
        )
      }),
    )
    await fc.assert(
      fc.asyncProperty(bytes, async (text) => {
        const answer = await stage.signals.receive(text, newId('rq', clock.now()))
        expect(answer.ok).toBe(false)
      }),
      { numRuns: 1500 },
    )
    expect(await stage.registry.get(grant.id)).toMatchObject({ status: 'active' })
    expect(stage.counted.every((line) => line === 'unverified refused')).toBe(true)
  })
})

test('whatever the hub signs is taken or refused by value, and touches nobody it does not name', async () => {
  await withStage(async (stage, clock) => {
    await fc.assert(
      fc.asyncProperty(claimsLike, async (claims) => {
        const whole =
          typeof claims === 'object' && claims !== null && !Array.isArray(claims) ? claims : { events: claims }
        const key = issuer.key()
        const text = rawToken(
          JSON.stringify({ alg: 'ES256', typ: 'secevent+jwt', kid: key.kid }),
          JSON.stringify(setClaims(issuer, clock, whole)),
          key,
        )
        const answer = await stage.signals.receive(text, newId('rq', clock.now()))
        expect(typeof answer.ok).toBe('boolean')
      }),
      { numRuns: 1000 },
    )
    const other = {
      issuer: 'cluster-eu',
      subject: 'somebody-else',
      issuedAtMs: clock.now() - 3_600_000,
      claims: { iat: 1 },
    }
    expect(await stage.signals.check(other)).toMatchObject({ ok: true })
    expect(stage.counted.some((line) => line.endsWith('received'))).toBe(true)
  })
})
