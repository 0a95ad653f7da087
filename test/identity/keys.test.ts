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
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
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
    expect(s.verifier.status()).toEqual([{ issuer: 'ci', ready: true, detail: '1 key' }])
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

  it('a clock that was set back does not stop a fetch', async () => {
    let setBackMs = 0
    const clock = fakeClock()
    const s = open(issuer, byUrl(), { clock: { now: () => clock.now() - setBackMs, after: clock.after } })
    const honest = { exp: s.now() + 300, iat: undefined }
    expect(await s.codeOf(await s.sign(honest))).toBe('ok')
    await issuer.rotate()
    setBackMs = 3600_000
    expect(await s.codeOf(await s.sign(honest))).toBe('ok')
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
    const delays = await paced(13, (round) => round < 10 || round === 11)
    const expected = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 300, 1, 300].map((seconds) => seconds * 1000)
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
    expect(s.log.lines.map(({ event }) => event)).toEqual(['issuer_keys_failed'])
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

  it('close ends a fetch that is under way', async () => {
    issuer.behave({ kind: 'silent' })
    const s = open(issuer, byUrl())
    const result = s.codeOf(await s.sign())
    await issuer.seen('jwks', 1)
    s.verifier.close()
    expect(await result).toBe('state_unavailable')
  })

  it('after close nothing is fetched', async () => {
    const s = open(issuer, byUrl())
    s.verifier.start()
    await ready(s)
    s.verifier.close()
    await s.clock.advance(keepKeysMs)
    expect(await s.codeOf(await s.sign())).toBe('state_unavailable')
    expect(issuer.requests.jwks).toBe(1)
  })

  it('nothing is fetched any more for an issuer that was removed', async () => {
    let policies: readonly IssuerPolicy[] = [issuerPolicy(issuer, byUrl())]
    const s = open(issuer, {}, { issuers: () => policies })
    s.verifier.start()
    await ready(s)
    policies = []
    await s.clock.advance(refreshEveryMs * 3)
    expect(issuer.requests.jwks).toBe(1)
  })

  it('a newly listed algorithm gets its key', async () => {
    const es256 = issuer.key()
    await issuer.rotate({ alg: 'RS256' })
    let policies = [issuerPolicy(issuer, { algorithms: ['RS256'] })]
    const s = open(issuer, {}, { issuers: () => policies })
    const token = await s.sign({}, { key: es256 })
    expect(await s.codeOf(await s.sign())).toBe('ok')
    expect(await s.whyNot(token)).toMatch(/^algorithm: /)
    policies = [issuerPolicy(issuer, { algorithms: ['RS256', 'ES256'] })]
    expect(await s.codeOf(token)).toBe('ok')
  })

  it('of two documents with one url the first holds', async () => {
    const policies = [issuerPolicy(issuer), issuerPolicy(issuer, { name: 'second', audience: 'x' })]
    const s = open(issuer, {}, { issuers: () => policies })
    expect((await s.identity(await s.sign())).issuer).toBe('ci')
    expect(await s.codeOf(await s.sign({ aud: 'x' }))).toBe('audience_mismatch')
  })
})
