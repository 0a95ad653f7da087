import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createVerifier } from '../../../src/identity/verify.ts'
import { fakeClock } from '../../support/clock.ts'
import { signingKey, startIssuer, type TestIssuer } from '../../support/issuer.ts'
import { issuerPolicy, recordedLog } from '../setup.ts'
import { type TestPlatform, testPlatform } from './platform.ts'

const url = 'spiffe://example.org'
const sub = 'spiffe://example.org/ns/orders/sa/checkout'
// SPIRE writes no `iss` unless it is told to, nor a `jti`.
const svid = { iss: undefined, jti: undefined, sub, aud: ['https://writ.example.com'] }

let issuer: TestIssuer
let spiffe: TestPlatform
const asBundle = (from: TestIssuer): object => ({
  keys: from.jwks().keys.map((key) => ({ ...key, use: 'jwt-svid', alg: undefined })),
})
// What JSON leaves out a policy leaves out.
const bundleOf = (from: TestIssuer): object => JSON.parse(JSON.stringify(asBundle(from)))

beforeAll(async () => {
  issuer = await startIssuer()
  spiffe = testPlatform(issuer, {
    flavour: 'spiffe',
    url,
    trust_domain: 'example.org',
    algorithms: ['RS256', 'ES256', 'EdDSA'],
    keys: { jwks: bundleOf(issuer) },
  })
})
afterAll(() => issuer.close())

describe('a JWT-SVID', () => {
  it('is taken with `iss` and without, and names no run', async () => {
    const identity = await spiffe.identity(svid)
    expect(identity).toMatchObject({ issuer: 'ci', issuerUrl: url, flavour: 'spiffe', subject: sub })
    expect(identity.run).toBeUndefined()
    expect(await spiffe.judge({ ...svid, iss: url })).toBe('ok')
  })

  it.each([
    ['no type', { typ: undefined }, 'ok'],
    ['typ JOSE', { typ: 'JOSE' }, 'ok'],
    ['typ jwt in small letters', { typ: 'jwt' }, 'spiffe.header: typ "jwt" is neither JWT nor JOSE'],
    ['typ application/jwt', { typ: 'application/jwt' }, 'spiffe.header: typ "application/jwt" is neither JWT nor JOSE'],
    ['a WIT-SVID', { typ: 'wit+jwt' }, 'type: typ "wit+jwt" is not one of jwt, jose'],
    ['an access token', { typ: 'at+jwt' }, 'type: typ "at+jwt" is not one of jwt, jose'],
    ['a header of its own', { x5t: 'abc' }, 'spiffe.header: a JWT-SVID has no header "x5t"'],
    ['a content type', { cty: 'JWT' }, 'spiffe.header: a JWT-SVID has no header "cty"'],
  ])('with %s in its header', async (_, header, outcome) => {
    expect(await spiffe.judge(svid, { header })).toBe(outcome)
  })

  it('signed with EdDSA is refused, though the Issuer lists it', async () => {
    const key = await signingKey('EdDSA')
    expect(await spiffe.judge(svid, { key })).toBe('spiffe.header: no JWT-SVID is signed with "EdDSA"')
  })

  it('that is bound to a key is refused: nobody proved to hold it', async () => {
    const cnf = { jwk: { kty: 'EC', alg: 'ES256' } }
    expect(await spiffe.judge({ ...svid, cnf })).toMatch(/^spiffe.bearer: the token is bound to a key/)
  })

  it('without aud or exp is refused', async () => {
    expect(await spiffe.judge({ ...svid, aud: undefined })).toMatch(/^audience: /)
    expect(await spiffe.judge({ ...svid, exp: undefined })).toMatch(/^expiry: /)
  })
})

describe('the subject', () => {
  // With `iss`, so that the token comes to this Issuer whatever its subject.
  const judge = (text: string): Promise<string> => spiffe.judge({ ...svid, iss: url, sub: text })
  const longest = `spiffe://example.org/${'a'.repeat(2048 - 'spiffe://example.org/'.length)}`

  it.each([
    'spiffe://example.org/ns/orders/sa/checkout.v2',
    'spiffe://example.org/a_b-C.9',
    'spiffe://example.org/...',
    longest,
  ])('%s names a workload', async (text) => {
    expect(await judge(text)).toBe('ok')
  })

  it.each([
    'spiffe://example.org/',
    'spiffe://example.org/ns//sa',
    'spiffe://example.org/ns/orders/',
    'spiffe://example.org/ns/../sa/checkout',
    'spiffe://example.org/./a',
    'spiffe://example.org/a b',
    'spiffe://example.org/%61',
    'spiffe://example.org/a?b=c',
    'spiffe://example.org/a#b',
    'spiffe://example.org/a\n',
    'spiffe://example.org/ä',
    'spiffe://example.org/*',
    'spiffe://example.org:443/a',
    'spiffe://user@example.org/a',
    'spiffe://Example.org/a',
    'spiffe:///a',
    'SPIFFE://example.org/a',
    'https://example.org/a',
    `${longest}a`,
  ])('%j is not a SPIFFE ID', async (text) => {
    expect(await judge(text)).toMatch(/^spiffe.subject: .* is not a SPIFFE ID$/)
  })

  it.each(['spiffe://example.com/a', 'spiffe://sub.example.org/a', 'spiffe://example.org.evil.test/a'])(
    '%s is of another trust domain, whatever key signed it',
    async (text) => {
      expect(await judge(text)).toMatch(/the Issuer speaks for "example.org"$/)
    },
  )

  it('that is the trust domain itself is no workload', async () => {
    expect(await judge('spiffe://example.org')).toMatch(/^spiffe.subject: sub names the trust domain itself/)
  })
})

describe('a token without iss', () => {
  const own = { name: 'own', flavour: 'spiffe', url, trust_domain: 'example.org' }
  const other = { name: 'other', flavour: 'spiffe', url: 'spiffe://example.com', trust_domain: 'example.com' }
  const judge = async (claims: object, ...policies: Readonly<Record<string, unknown>>[]): Promise<string> => {
    const documents = policies.map((policy) => issuerPolicy(issuer, { keys: { jwks: bundleOf(issuer) }, ...policy }))
    const verifier = createVerifier({ issuers: () => documents, clock: fakeClock(), log: recordedLog() })
    const token = await issuer.sign({ ...svid, ...claims }, { now: fakeClock().now() / 1000 })
    const result = await verifier.verify(token)
    verifier.close()
    return result.ok ? result.value.issuer : (result.refusal.reasons.at(-1)?.detail ?? '')
  }

  it('goes to the one spiffe issuer of its trust domain', async () => {
    expect(await judge({}, other, own)).toBe('own')
    expect(await judge({ sub: 'spiffe://example.com/a' }, own, other)).toBe('other')
  })

  it('goes to nobody when two speak for the trust domain, but for those that take no tokens', async () => {
    const second = { ...own, name: 'second', url: 'https://spire.example.org' }
    expect(await judge({}, own, second)).toMatch(/more than one Issuer has the trust domain "example.org"$/)
    expect(await judge({ iss: 'https://spire.example.org' }, own, second)).toBe('second')
    const signals = { ...second, audience: undefined, signals: { audience: 'https://writ.example.com' } }
    expect(await judge({}, own, signals)).toBe('own')
  })

  it.each([
    ['no spiffe issuer has its trust domain', {}, other, /no spiffe Issuer has the trust domain "example.org"$/],
    ['an issuer of another flavour has the url', {}, { ...own, flavour: 'generic' }, /no spiffe Issuer has/],
    ['its subject is not a SPIFFE ID', { sub: 'checkout' }, own, /sub is not a SPIFFE ID$/],
    ['it has no subject', { sub: undefined }, own, /sub is not a SPIFFE ID$/],
    ['iss is null', { iss: null }, own, /^no Issuer has the url null$/],
    ['iss is a list', { iss: [url] }, own, /^no Issuer has the url a list$/],
    ['iss is empty', { iss: '' }, own, /^no Issuer has the url ""$/],
  ])('or that seems so is refused when %s', async (_, claims, policy, outcome) => {
    expect(await judge(claims, policy)).toMatch(outcome)
  })
})
