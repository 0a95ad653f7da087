import { createPublicKey, verify as verifyBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { claimAt } from '../../src/identity/environment.ts'
import { startIssuer, type TestIssuer, testAudience } from '../support/issuer.ts'
import { scene } from './setup.ts'

let issuer: TestIssuer

beforeAll(async () => {
  issuer = await startIssuer()
})
afterAll(() => issuer.close())

describe('the audience', () => {
  it.each([
    ['the one text', testAudience, 'ok'],
    ['a list of one', [testAudience], 'ok'],
    ['one of a list', ['https://a.example.com', testAudience], 'ok'],
    ['the second audience of the Issuer', 'writ', 'ok'],
    ['someone else', 'https://a.example.com', 'audience_mismatch'],
    ['a prefix', `${testAudience}/`, 'audience_mismatch'],
    ['another case', testAudience.toUpperCase(), 'audience_mismatch'],
    ['nobody', undefined, 'audience_mismatch'],
    ['an empty list', [], 'audience_mismatch'],
    ['an empty text', '', 'audience_mismatch'],
    ['a number', 7, 'token_invalid'],
    ['null', null, 'token_invalid'],
    ['a list with a number', [testAudience, 7], 'token_invalid'],
    ['an object', { [testAudience]: true }, 'token_invalid'],
  ])('%s', async (_, aud, code) => {
    const s = scene(issuer, { audience: [testAudience, 'writ'] })
    expect(await s.codeOf(await s.sign({ aud }))).toBe(code)
  })
})

describe('time, at the exact boundary', () => {
  // The fake clock stands on a whole second; `after` moves it by milliseconds before the token is shown.
  const cases: readonly [string, Record<string, unknown>, (now: number) => Record<string, unknown>, number, string][] =
    [
      ['exp: the last moment within the leeway', {}, (now) => ({ exp: now }), 29_999, 'ok'],
      ['exp: the end of the leeway', {}, (now) => ({ exp: now }), 30_000, 'token_expired'],
      ['exp: a leeway of the Issuer', { leeway: '5s' }, (now) => ({ exp: now }), 4999, 'ok'],
      ['exp: the end of that leeway', { leeway: '5s' }, (now) => ({ exp: now }), 5000, 'token_expired'],
      ['exp: fractions of a second', {}, (now) => ({ exp: now + 0.5 }), 30_499, 'ok'],
      ['exp: the end of a fraction', {}, (now) => ({ exp: now + 0.5 }), 30_500, 'token_expired'],
      ['nbf: the first moment within the leeway', {}, (now) => ({ nbf: now + 31 }), 1000, 'ok'],
      ['nbf: just before the leeway', {}, (now) => ({ nbf: now + 31 }), 999, 'token_not_yet_valid'],
      ['iat: the first moment within the leeway', {}, (now) => ({ iat: now + 31 }), 1000, 'ok'],
      ['iat: just before the leeway', {}, (now) => ({ iat: now + 31 }), 999, 'token_not_yet_valid'],
      ['max_age: the last moment', { max_age: '1m' }, (now) => ({ iat: now - 60 }), 30_000, 'ok'],
      ['max_age: just after', { max_age: '1m' }, (now) => ({ iat: now - 60 }), 30_001, 'token_too_old'],
      ['max_life: the longest life', { max_life: '10m' }, (now) => ({ exp: now + 631 }), 1000, 'ok'],
      ['max_life: a millisecond more', { max_life: '10m' }, (now) => ({ exp: now + 631 }), 999, 'token_too_old'],
    ]
  it.each(cases)('%s', async (_, token, claims, afterMs, code) => {
    const s = scene(issuer, { token })
    const text = await s.sign(claims(s.now()))
    await s.clock.advance(afterMs)
    expect(await s.codeOf(text)).toBe(code)
  })

  it('a token that expires while it waits for the keys has expired', async () => {
    let answer = (): void => {}
    const fetchKeys = (): Promise<string> =>
      new Promise((resolve) => {
        answer = () => resolve(JSON.stringify(issuer.jwks()))
      })
    const s = scene(issuer, { keys: { jwks_url: issuer.jwksUrl } }, { fetchKeys })
    const result = s.codeOf(await s.sign({ exp: s.now() - 29 }))
    await s.clock.advance(1000)
    answer()
    expect(await result).toBe('token_expired')
  })

  it.each([
    ['no exp', { exp: undefined }],
    ['exp as text', { exp: '9999999999' }],
    ['a negative exp', { exp: -1 }],
    ['exp in milliseconds', { exp: 1.8e12 }],
    ['exp null', { exp: null }],
    ['nbf as text', { nbf: '0' }],
    ['nbf null', { nbf: null }],
    ['iat as text', { iat: '0' }],
    ['iat as a list', { iat: [0] }],
  ])('%s is refused', async (_, claims) => {
    const s = scene(issuer)
    expect(await s.codeOf(await s.sign(claims))).toBe('token_invalid')
  })

  it('iat is needed exactly where the Issuer limits the age', async () => {
    const limited = scene(issuer, { token: { max_age: '10m' } })
    expect(await limited.whyNot(await limited.sign({ iat: undefined }))).toMatch(/^issued_at: /)
    const s = scene(issuer)
    const withNbf = await s.identity(await s.sign({ iat: undefined, nbf: s.now() - 7 }))
    expect(withNbf.issuedAtMs).toBe(s.clock.now() - 7000)
    expect((await s.identity(await s.sign({ iat: undefined }))).issuedAtMs).toBe(s.clock.now())
  })
})

describe('subject and token id', () => {
  it.each([[undefined], [''], [7], [null], [['a']]])('sub %j is refused', async (sub) => {
    const s = scene(issuer)
    expect(await s.whyNot(await s.sign({ sub }))).toMatch(/^subject: /)
  })

  it('jti is needed exactly where the Issuer limits the use, and is text', async () => {
    for (const replay of ['once', 'once_per_purpose']) {
      const s = scene(issuer, { token: { replay } })
      expect(await s.whyNot(await s.sign({ jti: undefined }))).toMatch(/^token_id: there is no jti/)
      expect(await s.codeOf(await s.sign())).toBe('ok')
    }
    const s = scene(issuer)
    expect(await s.codeOf(await s.sign({ jti: undefined }))).toBe('ok')
    for (const jti of ['', 7, null, {}]) expect(await s.codeOf(await s.sign({ jti }))).toBe('token_invalid')
  })
})

describe('the environment', () => {
  const map = { claim: 'kubernetes.io.namespace', map: { orders: 'prod', 'orders-dev': 'staging' } }
  it.each([
    ['fixed by the Issuer', 'prod', {}, 'prod'],
    ['not said', undefined, {}, undefined],
    ['mapped from a nested claim', map, { 'kubernetes.io': { namespace: 'orders-dev' } }, 'staging'],
    ['unmapped text', map, { 'kubernetes.io': { namespace: 'other' } }, undefined],
    ['the name of something every object has', map, { 'kubernetes.io': { namespace: 'constructor' } }, undefined],
    ['an absent claim', map, {}, undefined],
    ['a claim that is not text', map, { 'kubernetes.io': { namespace: ['orders'] } }, undefined],
  ])('%s', async (_, environment, claims, expected) => {
    const s = scene(issuer, environment === undefined ? {} : { environment })
    expect((await s.identity(await s.sign(claims))).environment).toBe(expected)
  })

  it('a path means one claim: at each step the longest name that is there', () => {
    expect(claimAt({ 'a.b': 'whole', a: { b: 'nested' } }, 'a.b')).toBe('whole')
    expect(claimAt({ a: { b: 'nested' } }, 'a.b')).toBe('nested')
    expect(claimAt({ 'https://x.example/env': 'p' }, 'https://x.example/env')).toBe('p')
    expect(claimAt({ a: { 'b.c': { d: 1 } } }, 'a.b.c.d')).toBe(1)
    for (const path of ['', '.', 'a.', '.a', 'a..b', 'a.b.c', 'toString', 'a.length', 'constructor.name']) {
      expect(claimAt({ a: { b: 'x' } }, path), path).toBeUndefined()
    }
    expect(claimAt({ a: ['x'] }, 'a.0')).toBeUndefined()
    expect(claimAt({}, '.'.repeat(200))).toBeUndefined()
  })
})

describe('the identity', () => {
  it('says what the token and its Issuer say, and cannot be changed', async () => {
    const s = scene(issuer, { environment: 'prod', token: { leeway: '10s', replay: 'once' } })
    const identity = await s.identity(await s.sign({ sub: 'checkout', jti: 'one' }))
    expect(identity).toMatchObject({
      issuer: 'ci',
      issuerUrl: issuer.url,
      flavour: 'generic',
      subject: 'checkout',
      environment: 'prod',
      jti: 'one',
      replay: 'once',
      issuedAtMs: s.clock.now(),
      expiresAtMs: s.clock.now() + 300_000,
      usableUntilMs: s.clock.now() + 310_000,
    })
    expect(Object.isFrozen(identity)).toBe(true)
  })

  it('its fingerprint follows iss and jti, not the text of the token', async () => {
    const s = scene(issuer)
    const one = await s.identity(await s.sign({ jti: 'a' }))
    expect((await s.identity(await s.sign({ jti: 'a', extra: 1 }))).fingerprint).toBe(one.fingerprint)
    expect((await s.identity(await s.sign({ jti: 'b' }))).fingerprint).not.toBe(one.fingerprint)
    expect(one.fingerprint).toMatch(/^[0-9a-f]{64}$/)
  })

  it('without jti, each token has a fingerprint of its own', async () => {
    const s = scene(issuer)
    const one = await s.identity(await s.sign({ jti: undefined, note: 1 }))
    const two = await s.identity(await s.sign({ jti: undefined, note: 2 }))
    expect(one.fingerprint).not.toBe(two.fingerprint)
  })

  it('without jti, a second valid signature over the same token has the same fingerprint', async () => {
    const s = scene(issuer)
    const token = await s.sign({ jti: undefined })
    const [header, payload, signature = ''] = token.split('.')
    // ECDSA: (r, n - s) is as valid as (r, s).
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
    const bytes = Buffer.from(signature, 'base64url')
    const flipped = order - BigInt(`0x${bytes.subarray(32).toString('hex')}`)
    bytes.write(flipped.toString(16).padStart(64, '0'), 32, 'hex')
    const key = createPublicKey({ key: { ...issuer.key().jwk }, format: 'jwk' })
    const signed = Buffer.from(`${header}.${payload}`)
    expect(verifyBytes('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, bytes)).toBe(true)
    const twin = `${header}.${payload}.${bytes.toString('base64url')}`
    expect(twin).not.toBe(token)
    expect((await s.identity(twin)).fingerprint).toBe((await s.identity(token)).fingerprint)
  })

  it('is made in verify.ts and nowhere else', async () => {
    const root = join(import.meta.dirname, '../../src')
    const files = (await readdir(root, { recursive: true })).filter((name) => name.endsWith('.ts'))
    const makers: string[] = []
    for (const name of files) {
      if (/\bas (?:unknown as )?Identity\b|<Identity>\s*\{/.test(await readFile(join(root, name), 'utf8')))
        makers.push(name)
    }
    expect(makers).toEqual([join('identity', 'verify.ts')])
  })
})

describe('hostile claim text', () => {
  const hostile = {
    nul: 'a\u0000b',
    rtl: 'abc\u202efdp.exe',
    path: '../../../sys/policies',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the text of somebody else, not a template of ours
    template: '{{workload}}${x}%s',
    quotes: `'"; DROP ROLE admin; --`,
    newline: 'a\nlevel=error msg=forged',
    separator: 'a\u2028b',
    long: 'x'.repeat(5000),
  }

  it('is accepted as a claim, byte for byte', async () => {
    const s = scene(issuer)
    for (const text of Object.values(hostile)) {
      const identity = await s.identity(await s.sign({ sub: text, note: text }))
      expect(identity.subject).toBe(text)
      expect(identity.claims.note).toBe(text)
    }
  })

  it('reaches reasons bounded and escaped, and never the log', async () => {
    const s = scene(issuer, { flavour: 'github-actions' })
    for (const text of Object.values(hostile)) {
      for (const claims of [{ sub: text }, { iss: text }, { aud: text }, { run_id: text, sub: 'repo:a/b:x' }]) {
        const result = await s.verifier.verify(await s.sign(claims, { header: { typ: 'JWT' } }))
        if (result.ok) throw new Error('accepted')
        for (const { detail } of result.refusal.reasons) {
          expect(detail.length).toBeLessThanOrEqual(512)
          expect(detail).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
        }
      }
    }
    expect(s.log.lines).toEqual([])
  })

  it('no part of a refused token is in the log or in a thrown error', async () => {
    const s = scene(issuer, { keys: { discovery: true } })
    const canary = 'canary-7f3a'
    const tokens = [
      await s.sign({ sub: canary }, { header: { kid: canary } }),
      await s.sign({ sub: canary, exp: canary }),
      (await s.sign({ sub: canary })).replace(/..$/, ''),
    ]
    for (const token of tokens) expect(await s.codeOf(token)).toBe('token_invalid')
    expect(JSON.stringify(s.log.lines)).not.toContain(canary)
  })
})

describe('the trail', () => {
  it('lists each check that was passed, in order, and the one that failed last', async () => {
    const s = scene(issuer, { token: { max_age: '10m', max_life: '1h' } })
    const { result, reasons } = await s.verifier.explain(await s.sign({ nbf: s.now() }))
    expect(result.ok).toBe(true)
    expect(reasons.map(({ rule }) => rule)).toEqual([
      'token',
      'issuer',
      'algorithm',
      'headers',
      'type',
      'key',
      'signature',
      'subject',
      'audience',
      'expiry',
      'not_before',
      'issued_at',
      'max_age',
      'max_life',
      'token_id',
      'environment',
    ])
    expect(reasons.every(({ ok }) => ok)).toBe(true)

    const refused = await s.verifier.verify(await s.sign({ aud: 'https://other.example.com' }))
    if (refused.ok) throw new Error('accepted')
    expect(refused.refusal.reasons.map(({ ok }) => ok)).toEqual([true, true, true, true, true, true, true, true, false])
    expect(refused.refusal.reasons.at(-1)).toEqual({
      rule: 'audience',
      ok: false,
      detail: `the token is for "https://other.example.com", not for "${testAudience}"`,
    })
  })

  it('looks at no claim but iss before the signature is proved', async () => {
    const s = scene(issuer)
    const token = await s.sign({ exp: 1, aud: 'x', sub: 7 })
    expect(await s.whyNot(`${token.slice(0, -8)}AAAAAAAA`)).toMatch(/^signature: /)
  })
})
