import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { fetchTimeoutMs, KeyFetchError, maxDocumentBytes } from '../../src/identity/fetch-text.ts'
import { importKeySet, type KeySet } from '../../src/identity/jwks.ts'
import { coolDownMs, createKeyCache, keepKeysMs, refreshEveryMs } from '../../src/identity/keys.ts'
import type { IssuerPolicy } from '../../src/policy/issuer.ts'
import { fakeClock } from '../support/clock.ts'
import { type Behaviour, signingKey, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { issuerPolicy, type Scene, scene } from './setup.ts'

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
const ready = (s: Scene): Promise<void> => vi.waitFor(() => expect(s.verifier.status()[0]?.ready).toBe(true))
const detail = (s: Scene): string | undefined => s.verifier.status()[0]?.detail
const detailIs = (s: Scene, text: string | RegExp): Promise<void> => vi.waitFor(() => expect(detail(s)).toMatch(text))
const many = <T>(count: number, make: () => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, make))

describe('where keys come from', () => {
  it('discovery, a URL, a file and the policy itself all verify the same token', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'writ-keys-'))
    try {
      const file = join(folder, 'jwks.json')
      await writeFile(file, JSON.stringify(issuer.jwks()))
      for (const keys of [{ discovery: true }, byUrl().keys, { jwks_file: file }, { jwks: issuer.jwks() }]) {
        const s = open(issuer, { keys })
        expect(await s.codeOf(await s.sign()), Object.keys(keys)[0]).toBe('ok')
      }
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('no request fetches keys: a thousand verifications cost one fetch', async () => {
    const s = open(issuer, { keys: { discovery: true } })
    const tokens = await many(10, () => s.sign())
    const codes = await many(100, async () => Promise.all(tokens.map((token) => s.codeOf(token))))
    expect(new Set(codes.flat())).toEqual(new Set(['ok']))
    expect(issuer.requests).toEqual({ discovery: 1, jwks: 1 })
  })

  it('inline keys are never fetched for, also not for an unknown kid', async () => {
    const s = open(issuer)
    s.verifier.start()
    await ready(s)
    await issuer.rotate()
    await s.clock.advance(24 * 3600_000)
    expect(await s.codeOf(await s.sign())).toBe('token_invalid')
    expect(issuer.requests).toEqual({ discovery: 0, jwks: 0 })
  })

  it('inline keys do not age', async () => {
    const s = open(issuer)
    s.verifier.start()
    await s.clock.advance(keepKeysMs * 3)
    expect(await s.codeOf(await s.sign())).toBe('ok')
  })

  it('a key file is read anew, and a file that turns bad leaves the last good keys', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'writ-keys-'))
    try {
      const file = join(folder, 'jwks.json')
      await writeFile(file, JSON.stringify(issuer.jwks()))
      const s = open(issuer, { keys: { jwks_file: file } })
      s.verifier.start()
      await ready(s)
      const old = await s.sign({ exp: s.now() + 3600 })
      await issuer.rotate({ drop: true })
      await writeFile(file, JSON.stringify(issuer.jwks()))
      await s.clock.advance(refreshEveryMs * 1.1)
      await vi.waitFor(async () => expect(await s.codeOf(old)).toBe('token_invalid'))
      expect(await s.codeOf(await s.sign())).toBe('ok')
      await writeFile(file, '{"keys":')
      await s.clock.advance(refreshEveryMs * 1.1)
      await detailIs(s, '1 key, not renewed: the document cannot be read: it is not JSON')
      expect(await s.codeOf(await s.sign())).toBe('ok')
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('a key file that cannot be read says why', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'writ-keys-'))
    try {
      const large = join(folder, 'large.json')
      await writeFile(large, `${JSON.stringify(issuer.jwks())}${' '.repeat(maxDocumentBytes)}`)
      await chmod(large, 0o600)
      for (const [file, why] of [
        [join(folder, 'none.json'), 'the key file cannot be read (ENOENT)'],
        [folder, 'the key file is not a regular file'],
        [large, 'the key file is larger than 262144 bytes'],
      ] as const) {
        const s = open(issuer, { keys: { jwks_file: file } })
        expect(await s.whyNot(await s.sign())).toBe(`key: the keys of the issuer are not available: ${why}`)
      }
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  it('keysFor stands in for what the policy says, so that a public issuer can be signed for in development', async () => {
    const url = 'https://kubernetes.default.svc'
    const s = open(issuer, { url, keys: { discovery: true } }, { keysFor: () => ({ jwks_url: issuer.jwksUrl }) })
    expect(await s.codeOf(await s.sign({ iss: url }))).toBe('ok')
    expect(issuer.requests).toEqual({ discovery: 0, jwks: 1 })
  })
})

describe('rotation', () => {
  it('an unknown kid causes one fetch, however many requests bring it at once', async () => {
    const s = open(issuer, byUrl())
    expect(await s.codeOf(await s.sign())).toBe('ok')
    await issuer.rotate()
    await s.clock.advance(coolDownMs)
    const tokens = await many(100, () => s.sign())
    expect(new Set(await Promise.all(tokens.map((token) => s.codeOf(token))))).toEqual(new Set(['ok']))
    expect(issuer.requests.jwks).toBe(2)
  })

  it('made-up kids cause no more than one fetch in a cool-down', async () => {
    const s = open(issuer, byUrl())
    const honest = await s.sign()
    expect(await s.codeOf(honest)).toBe('ok')
    const forged = await Promise.all(
      Array.from({ length: 20 }, (_, i) => s.sign({ exp: s.now() + 999 }, { header: { kid: `made-up-${i}` } })),
    )
    const flood = async (): Promise<void> => {
      const codes = await Promise.all(forged.map((token) => s.codeOf(token)))
      expect(new Set(codes)).toEqual(new Set(['token_invalid']))
    }
    await flood()
    expect(issuer.requests.jwks).toBe(1)
    await s.clock.advance(coolDownMs - 1)
    await flood()
    expect(issuer.requests.jwks).toBe(1)
    await s.clock.advance(1)
    await flood()
    expect(issuer.requests.jwks).toBe(2)
    await flood()
    expect(issuer.requests.jwks).toBe(2)
    expect(await s.codeOf(honest)).toBe('ok')
  })

  it('requests with known keys do not wait for a fetch that others caused', async () => {
    const s = open(issuer, byUrl())
    const honest = await s.sign()
    expect(await s.codeOf(honest)).toBe('ok')
    await s.clock.advance(coolDownMs)
    issuer.behave({ kind: 'silent' })
    const forged = s.codeOf(await s.sign({}, { header: { kid: 'made-up' } }))
    await issuer.seen('jwks', 2)
    expect(await s.codeOf(honest)).toBe('ok')
    await s.clock.advance(fetchTimeoutMs)
    expect(await forged).toBe('token_invalid')
  })

  it('the background fetch finds a new key before anyone needs it, and forgets a withdrawn one', async () => {
    const s = open(issuer, { keys: { discovery: true } })
    s.verifier.start()
    await ready(s)
    const old = await s.sign({ exp: s.now() + 3600 })
    expect(await s.codeOf(old)).toBe('ok')
    await issuer.rotate({ drop: true })
    await s.clock.advance(refreshEveryMs * 1.1)
    await issuer.seen('jwks', 2)
    await vi.waitFor(async () => expect(await s.codeOf(old)).toBe('token_invalid'))
    const asked = issuer.requests.jwks
    expect(await s.codeOf(await s.sign())).toBe('ok')
    expect(issuer.requests.jwks).toBe(asked)
  })
})

describe('the pace of background fetches', () => {
  /** A cache over a source that answers at once, and the delays it asked the clock for. */
  const paced = async (rounds: number, fails: (round: number) => boolean): Promise<number[]> => {
    const keys = await importKeySet(issuer.jwks(), ['ES256'])
    const clock = fakeClock()
    const delays: number[] = []
    const after: Clock['after'] = (delayMs, run) => {
      delays.push(delayMs)
      return clock.after(delayMs, run)
    }
    let round = 0
    const load = (): Promise<KeySet> =>
      fails(round++) ? Promise.reject(new KeyFetchError('down')) : Promise.resolve(keys)
    const cache = createKeyCache({
      issuer: 'ci',
      source: { changes: true, load },
      clock: { now: clock.now, after },
      log: silentLog,
    })
    cache.start()
    await clock.advance(0)
    while (delays.length < rounds) await clock.advance(delays.at(-1) ?? 0)
    cache.close()
    return delays
  }

  it('is the interval, give or take a tenth, and not always the same', async () => {
    const delays = await paced(50, () => false)
    for (const delay of delays) {
      expect(delay).toBeGreaterThanOrEqual(refreshEveryMs * 0.9)
      expect(delay).toBeLessThanOrEqual(refreshEveryMs * 1.1)
    }
    expect(new Set(delays).size).toBeGreaterThan(40)
  })

  it('quickens to a second after a failure, slows down to a minute, and is itself again after a success', async () => {
    const delays = await paced(12, (round) => round < 10)
    const expected = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 300, 300].map((seconds) => seconds * 1000)
    for (const [i, delay] of delays.entries()) {
      expect(Math.abs(delay / (expected[i] ?? 0) - 1), `delay ${i}`).toBeLessThanOrEqual(0.1)
    }
  })
})

describe('an issuer that is down', () => {
  it('at start is unready and says so, holds up no other issuer, and comes back by itself', async () => {
    issuer.behave({ kind: 'down' })
    const policies = [issuerPolicy(issuer, byUrl()), issuerPolicy(other, { name: 'other' })]
    const s = open(issuer, {}, { issuers: () => policies })
    s.verifier.start()
    await vi.waitFor(() =>
      expect(s.verifier.status()).toEqual([
        { issuer: 'ci', ready: false, detail: expect.stringMatching(/^127\.0\.0\.1:\d+ cannot be reached \(\w+\)$/) },
        { issuer: 'other', ready: true, detail: '1 key' },
      ]),
    )
    const result = await s.verifier.verify(await s.sign())
    expect(result).toMatchObject({ ok: false, refusal: { code: 'state_unavailable', retryAfterSeconds: 10 } })
    expect(await s.whyNot(await s.sign())).toMatch(/^key: the keys of the issuer are not available: 127/)
    expect(await s.codeOf(await other.sign({}, { now: s.now() }))).toBe('ok')
    expect(s.log.lines.map(({ event }) => event)).toEqual(['issuer_keys_failed'])

    issuer.behave({ kind: 'up' })
    await s.clock.advance(1100)
    await ready(s)
    expect(await s.codeOf(await s.sign())).toBe('ok')
    expect(s.log.lines.map(({ event }) => event)).toEqual(['issuer_keys_failed', 'issuer_keys_back'])
  })

  it('is asked by requests once a cool-down, not once a request', async () => {
    issuer.behave({ kind: 'status', status: 500 })
    const s = open(issuer, byUrl())
    const token = await s.sign()
    expect(new Set(await many(50, () => s.codeOf(token)))).toEqual(new Set(['state_unavailable']))
    expect(issuer.requests.jwks).toBe(1)
    await s.clock.advance(coolDownMs)
    await many(50, () => s.codeOf(token))
    expect(issuer.requests.jwks).toBe(2)
  })

  it('a request that comes before the first fetch has ended waits for it', async () => {
    const s = open(issuer, byUrl())
    s.verifier.start()
    expect(await s.codeOf(await s.sign())).toBe('ok')
    expect(issuer.requests.jwks).toBe(1)
  })

  it('its last good keys are used for 24 hours and not a millisecond more', async () => {
    const s = open(issuer, byUrl())
    const claims = { exp: s.now() + 2 * 24 * 3600 }
    const token = await s.sign(claims)
    expect(await s.codeOf(token)).toBe('ok')
    issuer.behave({ kind: 'down' })
    await s.clock.advance(keepKeysMs - 1)
    expect(await s.codeOf(token)).toBe('ok')
    expect(s.verifier.status()[0]?.ready).toBe(true)
    await s.clock.advance(1)
    expect(await s.codeOf(token)).toBe('state_unavailable')
    expect(detail(s)).toMatch(/^the last keys are older than 24 h; 127/)
    issuer.behave({ kind: 'up' })
    await s.clock.advance(coolDownMs)
    expect(await s.codeOf(token)).toBe('ok')
  })
})

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

describe('a change of policies', () => {
  it('takes effect with the next request: new issuers are trusted, removed ones are not, others keep their keys', async () => {
    let policies: readonly IssuerPolicy[] = [issuerPolicy(issuer, byUrl())]
    const s = open(issuer, {}, { issuers: () => policies })
    const mine = await s.sign({ exp: s.now() + 900 })
    const theirs = await other.sign({}, { now: s.now() })
    expect([await s.codeOf(mine), await s.codeOf(theirs)]).toEqual(['ok', 'issuer_unknown'])

    policies = [issuerPolicy(issuer, { ...byUrl(), token: { max_age: '1h' } }), issuerPolicy(other, { name: 'other' })]
    expect([await s.codeOf(mine), await s.codeOf(theirs)]).toEqual(['ok', 'ok'])
    expect(issuer.requests.jwks).toBe(1)

    policies = [issuerPolicy(other, { name: 'other' })]
    expect([await s.codeOf(mine), await s.codeOf(theirs)]).toEqual(['issuer_unknown', 'ok'])
    expect(s.verifier.status().map(({ issuer: name }) => name)).toEqual(['other'])

    policies = [issuerPolicy(issuer, { keys: { jwks: other.jwks() } })]
    expect(await s.codeOf(mine)).toBe('token_invalid')
  })

  it('stricter rules hold for tokens that passed before', async () => {
    let policies = [issuerPolicy(issuer)]
    const s = open(issuer, {}, { issuers: () => policies })
    const token = await s.sign()
    expect(await s.codeOf(token)).toBe('ok')
    policies = [issuerPolicy(issuer, { audience: 'https://other.example.com' })]
    expect(await s.codeOf(token)).toBe('audience_mismatch')
    policies = [issuerPolicy(issuer, { algorithms: ['EdDSA', 'RS256'] })]
    expect(await s.codeOf(token)).toBe('token_invalid')
  })

  it('is noticed without any request', async () => {
    let policies: readonly IssuerPolicy[] = []
    const s = open(issuer, {}, { issuers: () => policies })
    s.verifier.start()
    policies = [issuerPolicy(issuer, byUrl())]
    await s.clock.advance(5000)
    await issuer.seen('jwks', 1)
    await ready(s)
  })

  it('after close nothing is fetched', async () => {
    const s = open(issuer, byUrl())
    s.verifier.start()
    await ready(s)
    s.verifier.close()
    await s.clock.advance(keepKeysMs)
    expect(issuer.requests.jwks).toBe(1)
  })
})
