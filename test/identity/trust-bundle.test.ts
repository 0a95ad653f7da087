import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { refreshEveryMs } from '../../src/identity/keys.ts'
import { createBundleImport, refreshBounds } from '../../src/identity/trust-bundle.ts'
import { signingKey, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { type Scene, scene } from './setup.ts'

let issuer: TestIssuer
let s: Scene

beforeEach(async () => {
  issuer = await startIssuer()
  s = scene(issuer, {
    flavour: 'spiffe',
    url: 'spiffe://example.org',
    trust_domain: 'example.org',
    keys: { jwks_url: issuer.jwksUrl },
  })
})
afterEach(async () => {
  s.verifier.close()
  await issuer.close()
})

const authority = (key: object, use = 'jwt-svid'): object => ({ ...key, use, alg: undefined })
const bundle = (fields: object = {}): string =>
  JSON.stringify({ keys: issuer.jwks().keys.map((key) => authority(key)), ...fields })
const serve = (body: string): void => issuer.behave({ kind: 'body', body })
const svid = (): Promise<string> => s.sign({ iss: undefined, jti: undefined, sub: 'spiffe://example.org/checkout' })
const statusIs = (text: string | RegExp): Promise<void> =>
  vi.waitFor(() => expect(s.verifier.status()[0]?.detail).toMatch(text))

describe('the keys of a trust bundle', () => {
  it('are those for JWT-SVIDs alone', async () => {
    const stranger = await signingKey('ES256')
    const x509 = await signingKey('ES256')
    const keys = [authority(issuer.key().jwk), authority(x509.jwk, 'x509-svid'), { ...stranger.jwk, use: 'sig' }]
    serve(JSON.stringify({ keys, spiffe_sequence: 1 }))
    expect(await s.codeOf(await svid())).toBe('ok')
    for (const key of [x509, stranger]) {
      const token = await s.sign({ iss: undefined, sub: 'spiffe://example.org/checkout' }, { key })
      expect(await s.whyNot(token)).toMatch(/the issuer has no such key for ES256$/)
    }
  })

  it.each([
    ['no use', { use: undefined }],
    ['the use of a plain JWK Set', { use: 'sig' }],
    ['the use in other letters', { use: 'JWT-SVID' }],
    ['no kid', { kid: undefined }],
    ['an empty kid', { kid: '' }],
  ])('with %s are passed over', async (_, change) => {
    serve(JSON.stringify({ keys: [{ ...authority(issuer.key().jwk), ...change }] }))
    expect(await s.whyNot(await svid())).toMatch(/the document has no key for RS256, ES256$/)
  })

  it('are refused in a plain JWK Set, where their use is unknown', async () => {
    serve(bundle())
    const plain = scene(issuer, { keys: { jwks_url: issuer.jwksUrl } })
    expect(await plain.whyNot(await plain.sign())).toMatch(/the document has no key for/)
    plain.verifier.close()
  })

  it('come by discovery as a plain JWK Set, as those of the OIDC provider of SPIRE do', async () => {
    const discovered = scene(issuer, { flavour: 'spiffe', trust_domain: 'example.org', keys: { discovery: true } })
    const token = await discovered.sign({ sub: 'spiffe://example.org/checkout' })
    expect(await discovered.codeOf(token)).toBe('ok')
    discovered.verifier.close()
  })
})

describe('the refresh hint', () => {
  const algorithms = ['ES256'] as const
  it.each([
    [1, refreshBounds.leastMs],
    [0, refreshBounds.leastMs],
    [300, 300_000],
    [2_419_200, refreshBounds.mostMs],
    [undefined, undefined],
  ])('of %s seconds is kept to within bounds', async (hint, expected) => {
    const read = createBundleImport(algorithms)
    expect((await read(JSON.parse(bundle({ spiffe_refresh_hint: hint })))).refreshAfterMs).toBe(expected)
  })

  it.each(['300', -1, 1.5, null, 2 ** 60])('%j is not one', async (hint) => {
    const document = { ...JSON.parse(bundle()), spiffe_refresh_hint: hint }
    await expect(createBundleImport(algorithms)(document)).rejects.toThrow(
      'spiffe_refresh_hint of the trust bundle is not a whole number',
    )
  })

  it('decides when the bundle is read again, and a key taken back is gone then', async () => {
    serve(bundle({ spiffe_sequence: 1, spiffe_refresh_hint: 60 }))
    s.verifier.start()
    await statusIs('1 key')
    const old = await svid()
    expect(await s.codeOf(old)).toBe('ok')
    await issuer.rotate({ drop: true })
    serve(bundle({ spiffe_sequence: 2, spiffe_refresh_hint: 60 }))
    const before = issuer.requests.jwks
    // Jitter adds at most a tenth, and the usual time is far off.
    expect(refreshEveryMs).toBeGreaterThan(66_000)
    await s.clock.advance(66_000)
    await issuer.seen('jwks', before + 1)
    await vi.waitFor(async () => expect(await s.codeOf(old)).toBe('token_invalid'))
    expect(await s.codeOf(await svid())).toBe('ok')
  })
})

describe('the sequence number', () => {
  it('never goes back: an old bundle does not bring a key back that was taken out', async () => {
    const old = bundle({ spiffe_sequence: 7 })
    serve(old)
    s.verifier.start()
    await statusIs('1 key')
    const token = await s.sign({ iss: undefined, sub: 'spiffe://example.org/checkout', exp: s.now() + 86_400 })
    await issuer.rotate({ drop: true })
    serve(bundle({ spiffe_sequence: 8 }))
    await s.clock.advance(refreshEveryMs * 1.1)
    await vi.waitFor(async () => expect(await s.codeOf(token)).toBe('token_invalid'))
    serve(old)
    await s.clock.advance(refreshEveryMs * 1.1)
    await statusIs('1 key, not renewed: the trust bundle is older than one that was read before')
    expect(await s.codeOf(token)).toBe('token_invalid')
    expect(await s.codeOf(await svid())).toBe('ok')
  })

  it('may stay the same or be left out', async () => {
    const read = createBundleImport(['ES256'])
    for (const spiffe_sequence of [3, 3, undefined, 4]) await read(JSON.parse(bundle({ spiffe_sequence })))
    await expect(read(JSON.parse(bundle({ spiffe_sequence: 3 })))).rejects.toThrow('older than one')
  })
})
