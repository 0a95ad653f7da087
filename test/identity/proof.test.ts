import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Claims } from '../../src/identity/identity.ts'
import { createProofs, maxProofLength, type SentProof } from '../../src/identity/proof.ts'
import { normalTargetUri } from '../../src/identity/target-uri.ts'
import { memoryState } from '../../src/state/memory.ts'
import { fakeClock } from '../support/clock.ts'
import { newPair, type Pair, prove } from '../support/dpop.ts'

const url = 'https://writ.example.com'
const path = '/v1/credentials'
const token = 'head.body.signature'

let pair: Pair
let other: Pair
beforeAll(async () => {
  pair = await newPair()
  other = await newPair()
})

function desk(publicUrl = url, startMs?: number) {
  const clock = fakeClock(startMs)
  const proofs = createProofs({ url: publicUrl, state: memoryState(clock), clock })
  const target = { method: 'POST', url: `${url}${path}`, token, now: clock.now() / 1000 }
  return {
    clock,
    target,
    make: (claims = {}, header = {}, by = pair) => prove(by, { ...target, now: clock.now() / 1000 }, claims, header),
    check: (text: string, claims: Claims = {}, sent: Partial<SentProof> = {}, bearer = token) =>
      proofs.check({ text, method: 'POST', path, ...sent }, bearer, { claims }),
    checkNone: (claims: Claims) => proofs.check(undefined, token, { claims }),
  }
}
type Checked = Awaited<ReturnType<ReturnType<typeof desk>['check']>>

/** `ok`, or the last rule of a refusal, which has the one code there is. */
function outcome(result: Checked): string {
  if (result.ok) return 'ok'
  expect(result.refusal.code).toBe('proof_invalid')
  return result.refusal.reasons.at(-1)?.rule ?? ''
}

describe('the example of RFC 9449 section 7.1', () => {
  const example =
    'eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.' +
    'eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.' +
    '2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA'
  const accessToken = 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU'
  const sent = { method: 'GET', path: '/protectedresource' }
  const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'
  const resource = (atSeconds = 1_562_262_618) => desk('https://resource.example.org', atSeconds * 1000)

  it('is taken, and its key has the thumbprint of section 6.1', async () => {
    const result = await resource().check(example, { cnf: { jkt } }, sent, accessToken)
    expect(result).toEqual({
      ok: true,
      value: {
        jkt,
        jwk: {
          kty: 'EC',
          crv: 'P-256',
          x: 'l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs',
          y: '9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA',
        },
      },
    })
  })

  it('is refused with another token, method or path, and when its time is over', async () => {
    expect(outcome(await resource().check(example, {}, sent, 'another'))).toBe('proof.token')
    expect(outcome(await resource().check(example, {}, { ...sent, method: 'POST' }, accessToken))).toBe('proof.method')
    expect(outcome(await resource().check(example, {}, { ...sent, path: '/other' }, accessToken))).toBe('proof.target')
    expect(outcome(await resource(1_562_262_679).check(example, {}, sent, accessToken))).toBe('proof.age')
  })
})

describe('a proof', () => {
  it.each(['ES256', 'ES384', 'ES512', 'PS256', 'RS256', 'EdDSA', 'Ed25519'] as const)('by %s is taken', async (alg) => {
    const { make, check } = desk()
    const by = await newPair(alg)
    const result = await check(await make({}, {}, by))
    expect(result).toMatchObject({ ok: true, value: { jkt: by.jkt } })
    const members = { EC: ['crv', 'kty', 'x', 'y'], RSA: ['e', 'kty', 'n'], OKP: ['crv', 'kty', 'x'] }
    expect(Object.keys(result.ok ? (result.value?.jwk ?? {}) : {}).toSorted()).toEqual(
      members[by.jwk.kty as keyof typeof members],
    )
  })

  it('holds what nobody asks about: a nonce, other claims, what a key says of itself', async () => {
    const { make, check } = desk()
    const jwk = { ...pair.jwk, kid: 'mine', use: 'sig', alg: 'ES256', key_ops: ['verify'] }
    const result = await check(await make({ nonce: 'n', exp: 1, more: [1] }, { jwk, kid: 'mine' }))
    expect(result).toMatchObject({ ok: true, value: { jkt: pair.jkt } })
  })

  it.each<[string, string, object]>([
    ['no jti', 'proof.id', { jti: undefined }],
    ['an empty jti', 'proof.id', { jti: '' }],
    ['a long jti', 'proof.id', { jti: 'x'.repeat(257) }],
    ['a jti that is no text', 'proof.id', { jti: 5 }],
    ['no htm', 'proof.method', { htm: undefined }],
    ['another htm', 'proof.method', { htm: 'GET' }],
    ['htm in lower case', 'proof.method', { htm: 'post' }],
    ['no htu', 'proof.target', { htu: undefined }],
    ['another path', 'proof.target', { htu: `${url}/v1/tasks` }],
    ['a path in other case', 'proof.target', { htu: `${url}/V1/credentials` }],
    ['another host', 'proof.target', { htu: `https://writ.example.org${path}` }],
    ['another scheme', 'proof.target', { htu: `http://writ.example.com${path}` }],
    ['another port', 'proof.target', { htu: `${url}:8443${path}` }],
    ['a query', 'proof.target', { htu: `${url}${path}?a` }],
    ['a fragment', 'proof.target', { htu: `${url}${path}#` }],
    ['a user', 'proof.target', { htu: `https://a@writ.example.com${path}` }],
    ['the path alone', 'proof.target', { htu: path }],
    ['no iat', 'proof.age', { iat: undefined }],
    ['iat as text', 'proof.age', { iat: '1' }],
    ['a negative iat', 'proof.age', { iat: -1 }],
    ['no ath', 'proof.token', { ath: undefined }],
    ['the ath of another token', 'proof.token', { ath: createHash('sha256').update('a.b.c').digest('base64url') }],
    ['the ath in hex', 'proof.token', { ath: createHash('sha256').update(token).digest('hex') }],
  ])('with %s is refused by %s', async (_, rule, claims) => {
    const { make, check } = desk()
    expect(outcome(await check(await make(claims)))).toBe(rule)
  })

  it('is good from 5 s before its iat to 60 s after, by the clock of the broker', async () => {
    for (const [offset, expected] of [
      [-61, 'proof.age'],
      [-60, 'ok'],
      [5, 'ok'],
      [6, 'proof.age'],
    ] as const) {
      const { make, check, target } = desk()
      expect(outcome(await check(await make({ iat: target.now + offset }))), `${offset} s`).toBe(expected)
    }
  })

  it.each<[string, string, object]>([
    ['no typ', 'proof.type', { typ: undefined }],
    ['the typ of a token', 'proof.type', { typ: 'JWT' }],
    ['no jwk', 'proof.key', { jwk: undefined }],
    ['a list for a jwk', 'proof.key', { jwk: [] }],
    ['text for a jwk', 'proof.key', { jwk: 'key' }],
    ['a URL of keys', 'proof.headers', { jku: 'https://elsewhere.example/keys' }],
    ['a certificate', 'proof.headers', { x5c: ['MII'] }],
    ['a key of no curve', 'proof.key', { jwk: { kty: 'EC', crv: 'secp256k1', x: 'AA', y: 'AA' } }],
    [
      'a point beside the curve',
      'proof.key',
      { jwk: { kty: 'EC', crv: 'P-256', x: 'A'.repeat(43), y: 'A'.repeat(43) } },
    ],
    ['a key for encryption alone', 'proof.key', () => ({ ...pair.jwk, use: 'enc' })],
    ['a key that says another alg', 'proof.key', () => ({ ...pair.jwk, alg: 'ES384' })],
    ['a symmetric key', 'proof.key', { jwk: { kty: 'oct', k: 'c2VjcmV0' } }],
    ['a private key', 'proof.key', () => pair.privateJwk],
    ['the public key of somebody else', 'proof.signature', () => other.jwk],
  ])('whose header has %s is refused by %s', async (_, rule, header) => {
    const { make, check } = desk()
    const given = typeof header === 'function' ? { jwk: (header as () => object)() } : header
    expect(outcome(await check(await make({}, given)))).toBe(rule)
  })

  it.each(['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'])(
    'whose jwk has the private member %s is refused',
    async (name) => {
      const { make, check } = desk()
      expect(outcome(await check(await make({}, { jwk: { ...pair.jwk, [name]: 'AA' } })))).toBe('proof.key')
    },
  )

  it('is refused without a signature, with one of an HMAC, and with one of another algorithm than it says', async () => {
    const { make, check } = desk()
    const [, payload, signature] = (await make()).split('.')
    const forged = (header: object, by = signature) =>
      check(`${Buffer.from(JSON.stringify(header)).toString('base64url')}.${payload}.${by}`)
    const typ = 'dpop+jwt'
    expect(outcome(await forged({ typ, alg: 'none', jwk: pair.jwk }, ''))).toBe('proof.form')
    expect(outcome(await forged({ typ, alg: 'none', jwk: pair.jwk }))).toBe('proof.algorithm')
    expect(outcome(await forged({ typ, alg: 'HS256', jwk: pair.jwk }))).toBe('proof.algorithm')
    expect(outcome(await forged({ typ, alg: 'HS256', jwk: { kty: 'oct', k: 'AA' } }))).toBe('proof.algorithm')
    expect(outcome(await forged({ typ, alg: 'ES384', jwk: pair.jwk }))).toBe('proof.key')
    expect(outcome(await forged({ typ, alg: 'PS256', jwk: pair.jwk }))).toBe('proof.key')
    expect(outcome(await forged({ typ, alg: 'RS512', jwk: pair.jwk }))).toBe('proof.algorithm')
    expect(outcome(await forged({ typ, alg: 'ES256', jwk: pair.jwk, crit: ['b64'], b64: false }))).toBe('proof.headers')
    expect(outcome(await forged({ typ, alg: 'ES256', jwk: pair.jwk, more: 1 }))).toBe('proof.signature')
  })

  it('by an RSA key is bounded below, where it is not safe, and above, where it costs too much', async () => {
    const { make, check } = desk()
    const [header = '', ...rest] = (await make({}, {}, await newPair('PS256'))).split('.')
    const { jwk, ...others } = JSON.parse(Buffer.from(header, 'base64url').toString()) as { jwk: object }
    const withKey = (changed: object) =>
      check(
        [Buffer.from(JSON.stringify({ ...others, jwk: { ...jwk, ...changed } })).toString('base64url'), ...rest].join(
          '.',
        ),
      )
    const bytes = (count: number) => Buffer.alloc(count, 0xff).toString('base64url')
    expect(outcome(await withKey({ n: bytes(128) }))).toBe('proof.key')
    expect(outcome(await withKey({ n: bytes(513) }))).toBe('proof.key')
    expect(outcome(await withKey({ e: bytes(64) }))).toBe('proof.key')
    expect(outcome(await withKey({}))).toBe('ok')
  })

  it.each([
    ['nothing', '', 'proof'],
    ['no JWT', 'abc', 'proof.form'],
    ['too much', 'a'.repeat(maxProofLength + 1), 'proof.size'],
  ])('is refused when it is %s', async (_, text, rule) => {
    expect(outcome(await desk().check(text))).toBe(rule)
  })

  it('is refused when two headers came, which HTTP joins by a comma', async () => {
    const { make, check } = desk()
    expect(outcome(await check(`${await make()}, ${await make()}`))).toBe('proof.form')
  })

  it('is good for one request, and its jti is remembered for as long as it is good and no longer', async () => {
    const { make, check, clock } = desk()
    const text = await make({ jti: 'one' })
    expect(outcome(await check(text))).toBe('ok')
    expect(outcome(await check(text))).toBe('proof.replay')
    expect(outcome(await check(await make({ jti: 'one' }))), 'signed anew').toBe('proof.replay')
    expect(outcome(await check(await make({ jti: 'one' }, {}, other))), 'the jti of another key').toBe('ok')
    await clock.advance(60_000)
    expect(outcome(await check(text))).toBe('proof.replay')
    await clock.advance(11_000)
    expect(outcome(await check(text))).toBe('proof.age')
    expect(outcome(await check(await make({ jti: 'one' }))), 'forgotten').toBe('ok')
  })

  it('that was refused takes no memory: the same jti is good after', async () => {
    const { make, check } = desk()
    expect(outcome(await check(await make({ jti: 'one', htm: 'GET' })))).toBe('proof.method')
    expect(outcome(await check(await make({ jti: 'one' })))).toBe('ok')
  })

  it('with any one claim or header changed is refused', async () => {
    const value = fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.constant(undefined),
    )
    const place = fc.constantFrom('htm', 'htu', 'iat', 'ath', 'typ', 'jwk')
    await fc.assert(
      fc.asyncProperty(place, value, async (name, changed) => {
        const { make, check, target } = desk()
        const inHeader = name === 'typ' || name === 'jwk'
        // A time that is near enough is a right one.
        if (name === 'iat' && typeof changed === 'number' && Math.abs(changed - target.now) < 100) return
        const text = await make(inHeader ? {} : { [name]: changed }, inHeader ? { [name]: changed } : {})
        expect(outcome(await check(text))).toMatch(/^proof\./)
      }),
      { numRuns: 150 },
    )
  })

  it('with any one character changed is refused', async () => {
    const { make } = desk()
    const text = await make()
    await fc.assert(
      fc.asyncProperty(
        fc.nat(text.length - 1),
        fc.constantFrom('A', 'b', '7', '.', '_', '~'),
        async (at, character) => {
          if (text[at] === character) return
          expect(outcome(await desk().check(text.slice(0, at) + character + text.slice(at + 1)))).toMatch(/^proof\./)
        },
      ),
      { numRuns: 150 },
    )
  })
})

describe('a token that is bound to a key', () => {
  it('needs a proof by that key', async () => {
    const { make, check, checkNone } = desk()
    const bound = { cnf: { jkt: pair.jkt } }
    expect(outcome(await checkNone(bound))).toBe('proof')
    expect(outcome(await check(await make({}, {}, other), bound))).toBe('proof.binding')
    expect(outcome(await check(await make(), bound))).toBe('ok')
  })

  it.each([[5], [null], [''], [['a']]])('is refused when it is bound to %j, which is no thumbprint', async (jkt) => {
    const { make, check, checkNone } = desk()
    expect(outcome(await checkNone({ cnf: { jkt } }))).toBe('proof')
    expect(outcome(await check(await make(), { cnf: { jkt } }))).toBe('proof.binding')
  })

  it('by other means than a thumbprint is taken as one that is not bound (RFC 7800 section 3.1)', async () => {
    expect(await desk().checkNone({ cnf: { 'x5t#S256': 'abc' } })).toEqual({ ok: true, value: undefined })
    expect(await desk().checkNone({})).toEqual({ ok: true, value: undefined })
  })
})

describe('the URI of a proof', () => {
  it.each([
    ['HTTPS://Writ.Example.COM/v1', 'https://writ.example.com/v1'],
    ['https://writ.example.com:443/v1', 'https://writ.example.com/v1'],
    ['http://writ.example.com:80', 'http://writ.example.com/'],
    ['http://writ.example.com:8080/', 'http://writ.example.com:8080/'],
    ['https://writ.example.com/a/../v1/./x', 'https://writ.example.com/v1/x'],
    ['https://writ.example.com/%7euser/%76%31', 'https://writ.example.com/~user/v1'],
    ['https://writ.example.com/a%2fb', 'https://writ.example.com/a%2Fb'],
  ])('%s is taken as %s', (given, normal) => {
    expect(normalTargetUri(given)).toBe(normal)
    expect(normalTargetUri(normal)).toBe(normal)
  })

  it.each([
    '',
    'v1',
    '//writ.example.com/v1',
    'https:///v1',
    'ftp://writ.example.com/',
    'https://a:b@c/',
    'https:\\\\c/',
    'https://c/ ',
  ])('%j is none', (text) => expect(normalTargetUri(text)).toBeUndefined())
})
