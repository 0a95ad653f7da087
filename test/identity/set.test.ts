import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../src/base/log.ts'
import { createVerifier } from '../../src/identity/verify.ts'
import { fakeClock } from '../support/clock.ts'
import { type SigningKey, signingKey, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { issuerPolicy } from './setup.ts'

let issuer: TestIssuer
let stranger: SigningKey
beforeAll(async () => {
  issuer = await startIssuer()
  stranger = await signingKey('ES256')
})
afterAll(() => issuer.close())

const clock = fakeClock()
const now = clock.now() / 1000
const standard = { aud: 'signals', exp: undefined, sub: undefined, iat: now, jti: 'one', events: {} }
const signals = { audience: ['signals', 'more'], max_age: '10m' }

/** `ok`, or the code and the last rule of the refusal. */
async function verdict(
  claims: object,
  { header = {}, more = {}, key }: { header?: object; more?: object; key?: SigningKey } = {},
): Promise<string> {
  const policies = [issuerPolicy(issuer, { audience: undefined, signals, ...more })]
  const verifier = createVerifier({ issuers: () => policies, clock, log: silentLog })
  const token = await issuer.sign(
    { ...standard, ...claims },
    { header: { typ: 'secevent+jwt', ...header }, ...(key === undefined ? {} : { key }) },
  )
  const result = await verifier.verifySet(token)
  return result.ok ? 'ok' : `${result.refusal.code} ${result.refusal.reasons.at(-1)?.rule}`
}

describe('a security event token', () => {
  test('of a declared issuer is accepted, without exp', async () => {
    expect(await verdict({})).toBe('ok')
    expect(await verdict({ aud: ['other', 'more'] })).toBe('ok')
    expect(await verdict({}, { header: { typ: 'application/secevent+jwt' } })).toBe('ok')
    expect(await verdict({}, { header: { typ: 'SECEVENT+JWT' } })).toBe('ok')
    expect(await verdict({ exp: now + 60 })).toBe('ok')
  })
  test('says that it is one', async () => {
    for (const typ of ['JWT', 'at+jwt', undefined, '', 'secevent']) {
      expect(await verdict({}, { header: { typ } }), String(typ)).toBe('token_invalid type')
    }
  })
  test('is signed by a key that the issuer publishes, with an algorithm that it lists', async () => {
    expect(await verdict({}, { key: stranger })).toBe('token_invalid key')
    expect(await verdict({}, { key: { ...stranger, kid: issuer.key().kid } })).toBe('token_invalid signature')
    expect(await verdict({}, { more: { algorithms: ['RS256'] } })).toBe('token_invalid algorithm')
    expect(await verdict({}, { header: { jku: 'https://attacker.example' } })).toBe('token_invalid headers')
  })
  test('comes from an issuer that may send signals; one of tokens may not', async () => {
    expect(await verdict({ iss: 'https://nobody.example' })).toBe('issuer_unknown issuer')
    expect(await verdict({}, { more: { audience: 'tokens', signals: undefined } })).toBe('issuer_unknown signals')
  })
  test('is meant for this broker, not stale, not of the future, and has a name', async () => {
    expect(await verdict({ aud: 'tokens' })).toBe('audience_mismatch audience')
    expect(await verdict({ aud: undefined })).toBe('audience_mismatch audience')
    expect(await verdict({ aud: 7 })).toBe('token_invalid audience')
    expect(await verdict({ iat: now - 629 })).toBe('ok')
    expect(await verdict({ iat: now - 631 })).toBe('token_too_old issued_at')
    expect(await verdict({ iat: now + 29 })).toBe('ok')
    expect(await verdict({ iat: now + 31 })).toBe('token_not_yet_valid issued_at')
    for (const iat of [undefined, '1', -1, 1e12]) expect(await verdict({ iat })).toBe('token_invalid issued_at')
    expect(await verdict({ exp: now - 31 })).toBe('token_expired expiry')
    expect(await verdict({ nbf: now + 31 })).toBe('token_not_yet_valid not_before')
    for (const jti of [undefined, '', 7, 'x'.repeat(513)]) expect(await verdict({ jti })).toBe('token_invalid token_id')
  })
  test('is no token for callers, nor are tokens of an issuer of signals alone', async () => {
    const policies = [issuerPolicy(issuer, { signals })]
    const verifier = createVerifier({ issuers: () => policies, clock, log: silentLog })
    const set = await issuer.sign(
      { ...standard, aud: 'https://writ.example.com', exp: now + 60, sub: 'x' },
      { header: { typ: 'secevent+jwt' } },
    )
    expect(await verifier.verify(set)).toMatchObject({ ok: false, refusal: { code: 'token_invalid' } })
    const alone = createVerifier({
      issuers: () => [issuerPolicy(issuer, { audience: undefined, signals })],
      clock,
      log: silentLog,
    })
    const token = await issuer.sign({}, { now })
    expect(await alone.verify(token)).toMatchObject({ ok: false, refusal: { code: 'issuer_unknown' } })
  })
})
