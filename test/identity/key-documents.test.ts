import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fetchTimeoutMs, maxDocumentBytes } from '../../src/identity/fetch-text.ts'
import { type Behaviour, signingKey, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { type Scene, scene } from './setup.ts'

let issuer: TestIssuer
let other: TestIssuer
let opened: Scene[]

beforeEach(async () => {
  issuer = await startIssuer()
  other = await startIssuer()
  opened = []
})
afterEach(async () => {
  for (const s of opened) s.verifier.close()
  await Promise.all([issuer.close(), other.close()])
})

const open = (...args: Parameters<typeof scene>): Scene => {
  const s = scene(...args)
  opened.push(s)
  return s
}
const byUrl = (): { keys: { jwks_url: string } } => ({ keys: { jwks_url: issuer.jwksUrl } })

describe('what an issuer may answer', () => {
  const pad = (text: string, size: number): string => text + ' '.repeat(size - text.length)
  const refusesTo = async (behaviour: Behaviour, why: string | RegExp, only?: 'discovery' | 'jwks'): Promise<void> => {
    issuer.behave(behaviour, only)
    const s = open(issuer, { keys: { discovery: true } })
    const reason = await s.whyNot(await s.sign())
    expect(reason.replace(/127\.0\.0\.1:\d+/, 'HOST')).toMatch(
      typeof why === 'string' ? `key: the keys of the issuer are not available: ${why}` : why,
    )
    expect(s.verifier.status()[0]?.ready).toBe(false)
  }

  it('no redirect is followed, to whatever host', async () => {
    const twin = await signingKey('ES256', issuer.key().kid)
    other.behave({ kind: 'body', body: JSON.stringify({ keys: [twin.jwk] }) })
    await refusesTo({ kind: 'redirect', location: other.jwksUrl }, 'HOST redirects, which is not followed')
    await refusesTo({ kind: 'redirect', location: other.jwksUrl }, 'HOST redirects, which is not followed', 'jwks')
    await refusesTo({ kind: 'redirect', location: '/elsewhere' }, 'HOST redirects, which is not followed')
    expect(other.requests).toEqual({ discovery: 0, jwks: 0 })
  })

  it('exactly 256 KiB are read, and not one byte more', async () => {
    const body = JSON.stringify(issuer.jwks())
    issuer.behave({ kind: 'body', body: pad(body, maxDocumentBytes) }, 'jwks')
    const s = open(issuer, byUrl())
    expect(await s.codeOf(await s.sign())).toBe('ok')
    await refusesTo({ kind: 'body', body: pad(body, maxDocumentBytes + 1) }, 'HOST sent more than 262144 bytes', 'jwks')
  })

  it.each(['silent', 'stalled'] as const)('a %s answer is given up after 5 s', async (kind) => {
    issuer.behave({ kind })
    const s = open(issuer, byUrl())
    const result = s.whyNot(await s.sign())
    await issuer.seen('jwks', 1)
    await s.clock.advance(fetchTimeoutMs - 1)
    expect(await Promise.race([result, Promise.resolve('still waiting')])).toBe('still waiting')
    await s.clock.advance(1)
    expect(await result).toMatch(/took longer than 5 s$/)
  })

  it.each([
    ['another status', { kind: 'status', status: 404 }, 'HOST answered 404'],
    ['no content', { kind: 'status', status: 204 }, 'HOST answered 204'],
    ['text', { kind: 'body', body: '<html>' }, 'the document cannot be read: it is not JSON'],
    ['a list', { kind: 'body', body: '[]' }, 'the document is not a JSON object'],
    ['bytes that are not UTF-8', { kind: 'body', body: new Uint8Array([0x22, 0xff, 0x22]) }, 'HOST sent text that is'],
    [
      'encoded content',
      { kind: 'body', body: '{}', headers: { 'content-encoding': 'gzip' } },
      'HOST sent encoded content',
    ],
    ['a member twice', { kind: 'body', body: '{"keys":[],"keys":[]}' }, 'the document cannot be read: an object names'],
    ['deep nesting', { kind: 'body', body: '['.repeat(100_000) }, 'the document cannot be read: it is nested'],
  ] as const)('%s is refused, for either document', async (_, behaviour, why) => {
    await refusesTo(behaviour, why, 'discovery')
    issuer.behave({ kind: 'up' })
    await refusesTo(behaviour, why, 'jwks')
  })

  it.each([
    ['another issuer', { issuer: 'https://other.example.com' }, 'the discovery document names another issuer'],
    ['its issuer with a slash', { issuer: 'URL/' }, 'the discovery document names another issuer'],
    ['no issuer', {}, 'the discovery document names another issuer'],
    ['no jwks_uri', { issuer: 'URL' }, 'the discovery document has no jwks_uri'],
    ['a jwks_uri that is not a URL', { issuer: 'URL', jwks_uri: '/jwks' }, 'the address of the keys is not a URL'],
    ['http', { issuer: 'URL', jwks_uri: 'http://example.com/' }, 'the address of the keys is not https'],
    ['a file', { issuer: 'URL', jwks_uri: 'file:///etc/passwd' }, 'the address of the keys is not https'],
    ['data', { issuer: 'URL', jwks_uri: 'data:,{}' }, 'the address of the keys is not https'],
    ['a password', { issuer: 'URL', jwks_uri: 'https://u:p@example.com/' }, 'the address of the keys holds a password'],
    [
      'a loopback look-alike',
      { issuer: 'URL', jwks_uri: 'http://127.0.0.1.example.com/' },
      'the address of the keys is',
    ],
  ])('a discovery document with %s is refused', async (_, document, why) => {
    const body = JSON.stringify(document).replaceAll('URL', issuer.url)
    await refusesTo({ kind: 'body', body }, why, 'discovery')
  })

  it('outside development http is refused without a request, loopback or not', async () => {
    for (const keys of [{ discovery: true }, byUrl().keys]) {
      const s = open(issuer, { keys }, { allowLoopbackHttp: false })
      expect(await s.whyNot(await s.sign())).toMatch(/the address of the keys is not https$/)
    }
    expect(issuer.requests).toEqual({ discovery: 0, jwks: 0 })
  })
})

describe('what a key may be', () => {
  const outcome = async (keys: readonly Record<string, unknown>[]): Promise<string> => {
    const s = open(issuer, { keys: { jwks: { keys } } })
    const why = await s.whyNot(await s.sign())
    return why.replace('key: the keys of the issuer are not available: ', '')
  }

  it('a private or symmetric key condemns the whole set', async () => {
    const why = 'the document holds a private or symmetric key'
    const good = { ...issuer.key().jwk }
    expect(await outcome([good, { kty: 'oct', k: 'c2VjcmV0' }])).toBe(why)
    expect(await outcome([good, { kty: 'oct' }])).toBe(why)
    expect(await outcome([good, { kty: 'RSA', n: 'AQAB', e: 'AQAB', d: 'AQAB' }])).toBe(why)
    expect(await outcome([{ ...good, d: 'AQAB' }])).toBe(why)
  })

  it('keys of other types, uses, operations and algorithms are passed over', async () => {
    const good = { ...issuer.key().jwk }
    const none = 'the document has no key for RS256, ES256'
    expect(await outcome([{ kty: 'AKP', alg: 'ML-DSA-65', pub: 'AQAB' }, good])).toBe('ok')
    expect(await outcome([{ ...good, use: 'enc' }])).toBe(none)
    expect(await outcome([{ ...good, key_ops: ['encrypt'] }])).toBe(none)
    expect(await outcome([{ ...good, key_ops: ['verify'] }])).toBe('ok')
    expect(await outcome([{ ...good, alg: 'ES384' }])).toBe(none)
    expect(await outcome([{ ...good, alg: undefined, use: undefined }])).toBe('ok')
    expect(await outcome([{ ...good, crv: 'secp256k1' }])).toBe(none)
    expect(await outcome([{ kty: 'EC' }])).toBe(none)
  })

  it('a key that is short or not well formed serves nobody and takes no good key down', async () => {
    const good = { ...issuer.key().jwk }
    const short = { kty: 'RSA', kid: 'short', n: Buffer.alloc(128, 0xff).toString('base64url'), e: 'AQAB' }
    expect(await outcome([short])).toBe('an RSA key is shorter than 2048 bits')
    expect(await outcome([short, good])).toBe('ok')
    const offCurve = { ...good, kid: 'off', x: Buffer.alloc(32, 1).toString('base64url') }
    expect(await outcome([offCurve])).toBe('a key for ES256 is not well formed')
    expect(await outcome([offCurve, good])).toBe('ok')
    expect(await outcome([{ ...good, kid: 7 }])).toBe('a kid is not text')
  })

  it('a document of a hundred keys is read, of one more is not', async () => {
    const good = { ...issuer.key().jwk }
    const fill = Array.from({ length: 99 }, (_, i) => ({ kty: 'AKP', kid: `k${i}` }))
    issuer.behave({ kind: 'body', body: JSON.stringify({ keys: [...fill, good] }) }, 'jwks')
    const s = open(issuer, byUrl())
    expect(await s.codeOf(await s.sign())).toBe('ok')
    issuer.behave({ kind: 'body', body: JSON.stringify({ keys: [...fill, good, { kty: 'AKP' }] }) }, 'jwks')
    const more = open(issuer, byUrl())
    expect(await more.whyNot(await more.sign())).toMatch(/more than 100 keys$/)
  })

  it.each([
    ['no keys', '{}', 'the document has no list of keys'],
    ['keys that are not a list', '{"keys":{}}', 'the document has no list of keys'],
    ['an empty list', '{"keys":[]}', 'the document has no key for RS256, ES256'],
    ['a key that is text', '{"keys":["x"]}', 'a key is not a JSON object'],
  ])('a document with %s is refused', async (_, body, why) => {
    issuer.behave({ kind: 'body', body }, 'jwks')
    const s = open(issuer, byUrl())
    expect(await s.whyNot(await s.sign())).toBe(`key: the keys of the issuer are not available: ${why}`)
  })
})
