import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { exportSPKI, importJWK } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { maxTokenLength } from '../../src/identity/token.ts'
import { rawToken, type SigningKey, signingKey, startIssuer, type TestIssuer, testAudience } from '../support/issuer.ts'
import { issuerPolicy, scene } from './setup.ts'

let issuer: TestIssuer
let rsa: TestIssuer
let attacker: SigningKey

beforeAll(async () => {
  issuer = await startIssuer()
  rsa = await startIssuer({ alg: 'RS256' })
  attacker = await signingKey('ES256', issuer.key().kid)
})
afterAll(() => Promise.all([issuer.close(), rsa.close()]))

const encode = (text: string | Uint8Array): string => Buffer.from(text).toString('base64url')

/** Header and payload texts of an honest token, to be bent. */
function texts(nowSeconds: number, key = issuer.key(), iss = issuer.url): { header: string; payload: string } {
  return {
    header: JSON.stringify({ alg: key.alg, kid: key.kid, typ: 'JWT' }),
    payload: JSON.stringify({ iss, sub: 's', aud: testAudience, iat: nowSeconds, exp: nowSeconds + 300 }),
  }
}

describe('the form of a token', () => {
  it('a request without a token is told so', async () => {
    expect(await scene(issuer).codeOf('')).toBe('token_missing')
  })

  it('exactly 16 KiB are read, and not one character more', async () => {
    const s = scene(issuer)
    const ofLength = (length: number): string => {
      for (const extra of ['', 'x', 'xx', 'xxx']) {
        const { header, payload } = texts(s.now())
        const bent = header.replace('}', `,"x":"${extra}"}`)
        for (let pad = 11_000; pad < 12_600; pad++) {
          const size = Math.ceil((bent.length * 4) / 3) + Math.ceil(((payload.length + pad + 9) * 4) / 3) + 2 + 86
          if (size !== length) continue
          const token = rawToken(bent, payload.replace('}', `,"pad":"${'a'.repeat(pad)}"}`), issuer.key())
          if (token.length === length) return token
        }
      }
      throw new Error('no padding gives that length')
    }
    expect(await s.codeOf(ofLength(maxTokenLength))).toBe('ok')
    expect(await s.codeOf(ofLength(maxTokenLength + 1))).toBe('too_large')
    expect(await s.codeOf('a'.repeat(10_000_000))).toBe('too_large')
  })

  it('anything but three base64url parts is refused', async () => {
    const s = scene(issuer)
    const token = await s.sign()
    const [header = '', payload = '', signature = ''] = token.split('.')
    const bent = [
      'x',
      '.',
      '..',
      '...',
      `${header}.${payload}`,
      `${header}.${payload}.`,
      `${token}.`,
      `${token}.x`,
      ` ${token}`,
      `${token}\n`,
      `${token}=`,
      `${header}=.${payload}.${signature}`,
      `${header}.${payload} .${signature}`,
      `${header}.${payload}.${signature.replace(/[-_]?$/, '+')}`,
      `Bearer ${token}`,
      JSON.stringify({ payload, signatures: [{ protected: header, signature }] }),
    ]
    for (const text of bent) expect(await s.codeOf(text), text).toBe('token_invalid')
    expect(await s.whyNot(`${header}=.${payload}.${signature}`)).toBe('form: its header is not base64url')
    expect(await s.whyNot(`${header}.${payload}=.${signature}`)).toBe('form: its payload is not base64url')
    expect(await s.codeOf(token)).toBe('ok')
  })

  it('claims are ten deep at most and a thousand at most', async () => {
    const s = scene(issuer)
    const nested = (depth: number): unknown => JSON.parse('['.repeat(depth) + ']'.repeat(depth))
    expect(await s.codeOf(await s.sign({ x: nested(9) }))).toBe('ok')
    expect(await s.whyNot(await s.sign({ x: nested(10) }))).toBe(
      'form: its payload cannot be read: it is nested too deeply',
    )
    // iss, sub, aud, iat, exp, jti and x are seven.
    expect(await s.codeOf(await s.sign({ x: Array(993).fill(0) }))).toBe('ok')
    expect(await s.whyNot(await s.sign({ x: Array(994).fill(0) }))).toBe(
      'form: its payload cannot be read: it has too many members',
    )
  })

  it('another text for the same bytes is not the same token', async () => {
    const s = scene(issuer)
    const token = await s.sign()
    // 64 bytes of signature end in two spare bits: 'A', 'B', 'C' and 'D' would decode alike.
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const last = alphabet.indexOf(token.at(-1) ?? '')
    const twin = token.slice(0, -1) + alphabet.charAt(last + 1)
    expect(Buffer.from(twin.split('.')[2] ?? '', 'base64url')).toEqual(
      Buffer.from(token.split('.')[2] ?? '', 'base64url'),
    )
    expect(await s.codeOf(twin)).toBe('token_invalid')
  })

  it.each([
    ['a header member twice', '{"alg":"ES256","kid":"KID","alg":"ES256"}', undefined],
    ['a header member twice behind an escape', '{"alg":"ES256","kid":"KID","\\u0061lg":"none"}', undefined],
    ['a header that is a list', '[]', undefined],
    ['a header that is null', 'null', undefined],
    ['a header with a byte order mark', '\ufeff{"alg":"ES256","kid":"KID"}', undefined],
    ['a header nested deeply', '{"alg":"ES256","kid":"KID","x":[[[[[]]]]]}', undefined],
    ['a header of many members', `{"alg":"ES256","kid":"KID","x":[${Array(70).fill(0)}]}`, undefined],
    ['a claim twice', undefined, '{"sub":"a","sub":"b"'],
    ['a claim twice behind an escape', undefined, '{"sub":"a","s\\u0075b":"b"'],
    ['a claim twice deep inside', undefined, '{"sub":"a","x":{"y":1,"y":1}'],
    ['a claim named __proto__', undefined, '{"sub":"a","__proto__":{"admin":true}'],
    ['claims nested deeply', undefined, `{"sub":"a","x":${'['.repeat(11)}${']'.repeat(11)}`],
    ['more than a thousand claims', undefined, `{"sub":"a","x":[${Array(1001).fill(0)}]`],
    ['a lone surrogate', undefined, '{"sub":"\\ud800"'],
  ])('%s is refused although the signature is genuine', async (_, header, payload) => {
    const s = scene(issuer)
    const honest = texts(s.now())
    const rest = honest.payload.replace('"sub":"s",', '').slice(1)
    const token = rawToken(
      header?.replace('KID', issuer.key().kid) ?? honest.header,
      payload === undefined ? honest.payload : `${payload},${rest}`,
      issuer.key(),
    )
    expect(await s.codeOf(token)).toBe('token_invalid')
    expect(await s.whyNot(token)).toMatch(/^form: its (header|payload)/)
  })

  it('bytes that are not UTF-8 are refused', async () => {
    const s = scene(issuer)
    const [header, , signature] = (await s.sign()).split('.')
    const payload = encode(Buffer.concat([Buffer.from('{"iss":"'), Buffer.from([0xff]), Buffer.from('"}')]))
    expect(await s.whyNot(`${header}.${payload}.${signature}`)).toBe('form: its payload is not UTF-8')
  })

  it('no single changed character of a genuine token verifies', async () => {
    const s = scene(issuer)
    const token = await s.sign({ 'kubernetes.io': { namespace: 'orders' } })
    const characters = fc.integer({ min: 0, max: 127 }).map((code) => String.fromCharCode(code))
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), characters, async (at, character) => {
        fc.pre(token[at] !== character)
        expect(await s.codeOf(token.slice(0, at) + character + token.slice(at + 1))).not.toBe('ok')
      }),
      { numRuns: 300 },
    )
  })

  it('no character may be left out, doubled or appended', async () => {
    const s = scene(issuer)
    const token = await s.sign()
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.constantFrom('drop', 'double'), async (at, how) => {
        const middle = how === 'drop' ? '' : `${token[at]}${token[at]}`
        expect(await s.codeOf(token.slice(0, at) + middle + token.slice(at + 1))).not.toBe('ok')
      }),
      { numRuns: 150 },
    )
  })
})

describe('the signature', () => {
  it.each(['none', 'None', 'NONE', 'nOnE', ''])('alg "%s" is refused with and without a signature', async (alg) => {
    const s = scene(issuer)
    const { header, payload } = texts(s.now())
    const bent = header.replace('"ES256"', JSON.stringify(alg))
    expect(await s.codeOf(`${encode(bent)}.${encode(payload)}.`)).toBe('token_invalid')
    expect(await s.whyNot(rawToken(bent, payload, issuer.key()))).toMatch(/^algorithm: /)
  })

  it('HMAC keyed with the public key of the issuer is refused, whatever form of the key is used', async () => {
    const s = scene(rsa, { algorithms: ['RS256'] })
    const { payload } = texts(s.now(), rsa.key(), rsa.url)
    const publicKey = await importJWK(rsa.key().jwk, 'RS256', { extractable: true })
    if (publicKey instanceof Uint8Array) throw new Error('not a public key')
    const pem = await exportSPKI(publicKey)
    const secrets = [
      pem,
      `${pem}\n`,
      pem.trim(),
      JSON.stringify(rsa.key().jwk),
      Buffer.from(rsa.key().jwk.n ?? '', 'base64url'),
    ]
    for (const secret of secrets) {
      const signed = `${encode(JSON.stringify({ alg: 'HS256', kid: rsa.key().kid }))}.${encode(payload)}`
      const token = `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
      expect(await s.whyNot(token)).toBe('algorithm: "HS256" is not one of RS256')
    }
  })

  it('an algorithm that the key could serve but the Issuer does not list is refused', async () => {
    const s = scene(rsa, { algorithms: ['RS256'] })
    for (const alg of ['RS384', 'PS256'] as const) {
      const key = { ...rsa.key(), alg }
      const { header, payload } = texts(s.now(), key, rsa.url)
      expect(await s.codeOf(rawToken(header, payload, key))).toBe('token_invalid')
    }
  })

  it('a key serves no algorithm other than the one it was published for', async () => {
    const s = scene(rsa, { algorithms: ['RS256', 'PS256', 'ES256'] })
    const { payload } = texts(s.now(), rsa.key(), rsa.url)
    for (const alg of ['PS256', 'ES256']) {
      const token = rawToken(JSON.stringify({ alg, kid: rsa.key().kid }), payload, rsa.key())
      expect(await s.whyNot(token)).toMatch(/^key: .* no such key for/)
    }
  })

  it.each(['RS256', 'RS384', 'PS256', 'ES256', 'ES384', 'EdDSA', 'Ed25519'] as const)('%s verifies', async (alg) => {
    const other = await startIssuer({ alg })
    try {
      const s = scene(other, { algorithms: [alg] })
      expect(await s.codeOf(await s.sign())).toBe('ok')
      const forged = await signingKey(alg, other.key().kid)
      expect(await s.whyNot(await s.sign({}, { key: forged }))).toBe('signature: not made by that key')
    } finally {
      await other.close()
    }
  })

  it('a signature by anyone else is refused', async () => {
    const s = scene(issuer)
    expect(await s.whyNot(await s.sign({}, { key: attacker }))).toBe('signature: not made by that key')
  })

  it('the signature of another token is refused', async () => {
    const s = scene(issuer)
    const [header, , signature] = (await s.sign()).split('.')
    const payload = (await s.sign({ sub: 'admin' })).split('.')[1]
    expect(await s.whyNot(`${header}.${payload}.${signature}`)).toBe('signature: not made by that key')
  })

  it('an all-zero ECDSA signature is refused', async () => {
    const s = scene(issuer)
    const [header, payload] = (await s.sign()).split('.')
    expect(await s.codeOf(`${header}.${payload}.${encode(new Uint8Array(64))}`)).toBe('token_invalid')
  })

  it('a key or an extension in the header is refused, however the token is signed', async () => {
    const elsewhere = await startIssuer()
    try {
      const s = scene(issuer)
      const { header, payload } = texts(s.now())
      const members = {
        jwk: attacker.jwk,
        jku: elsewhere.jwksUrl,
        x5u: `${elsewhere.url}/cert`,
        x5c: ['MIIB'],
        crit: ['exp'],
        b64: false,
      }
      for (const [name, value] of Object.entries(members)) {
        const bent = header.replace('}', `,${JSON.stringify(name)}:${JSON.stringify(value)}}`)
        for (const key of [attacker, issuer.key()]) {
          expect(await s.whyNot(rawToken(bent, payload, key))).toBe(`headers: ${name} is never honoured`)
        }
      }
      expect(elsewhere.requests).toEqual({ discovery: 0, jwks: 0 })
    } finally {
      await elsewhere.close()
    }
  })

  it('a kid picks a key and does nothing else', async () => {
    const s = scene(issuer)
    for (const kid of ['../../etc/passwd', "' OR 1=1 --", '__proto__', 'constructor', 'http://127.0.0.1/', '\u0000']) {
      expect(await s.whyNot(await s.sign({}, { header: { kid } }))).toMatch(
        /^key: kid ".*": the issuer has no such key/,
      )
    }
    for (const kid of [1, '', null, ['a'], { a: 1 }]) {
      expect(await s.whyNot(await s.sign({}, { header: { kid } }))).toBe('key: kid is not text')
    }
  })

  it('without kid exactly one key must fit', async () => {
    const two = await startIssuer()
    try {
      const only = scene(two)
      const first = two.key()
      const token = await two.sign({}, { header: { kid: undefined }, now: only.now() })
      expect(await only.codeOf(token)).toBe('ok')
      await two.rotate({ alg: 'RS256' })
      expect(await scene(two).codeOf(token)).toBe('ok')
      await two.rotate({ alg: 'ES256' })
      expect(await scene(two).whyNot(token)).toBe('key: no kid: more than one key of the issuer fits ES256')
      expect(await scene(two).codeOf(await two.sign({}, { key: first, now: only.now() }))).toBe('ok')
    } finally {
      await two.close()
    }
  })

  it('two keys of one kid are never guessed between', async () => {
    const twins = [issuer.key().jwk, attacker.jwk]
    const s = scene(issuer, { keys: { jwks: { keys: twins } } })
    expect(await s.whyNot(await s.sign())).toMatch(/^key: .*more than one key/)
  })
})

describe('the type', () => {
  it.each([
    ['generic', { sub: 'x' }, ['JWT', 'jwt', 'application/jwt', undefined, 'at+jwt']],
    ['kubernetes', { sub: 'system:serviceaccount:a:b' }, ['JWT', undefined]],
    ['github-actions', { sub: 'repo:o/r:ref:refs/heads/main' }, ['JWT', undefined]],
  ])('%s tokens carry a type of their platform or none', async (flavour, claims, types) => {
    const s = scene(issuer, { flavour })
    for (const typ of types) expect(await s.codeOf(await s.sign(claims, { header: { typ } })), String(typ)).toBe('ok')
    const others = [
      'dpop+jwt',
      'secevent+jwt',
      'logout+jwt',
      'wit+jwt',
      'JOSE+JSON',
      '',
      null,
      7,
      ['JWT'],
      'xapplication/jwt',
    ]
    for (const typ of flavour === 'generic' ? others : [...others, 'at+jwt']) {
      expect(await s.whyNot(await s.sign(claims, { header: { typ } })), String(typ)).toMatch(/^type: /)
    }
  })
})

describe('the issuer', () => {
  it('must be named exactly', async () => {
    const s = scene(issuer, { url: 'https://issuer.example.com' })
    expect(await s.codeOf(await s.sign({ iss: 'https://issuer.example.com' }))).toBe('ok')
    const near = [
      'https://issuer.example.com/',
      'https://ISSUER.example.com',
      'https://issuer.example.com.',
      'http://issuer.example.com',
      'https://issuer.example.com\u0000',
      ' https://issuer.example.com',
      '',
      'constructor',
      '__proto__',
      ['https://issuer.example.com'],
      null,
      7,
      undefined,
    ]
    for (const iss of near) expect(await s.codeOf(await s.sign({ iss })), String(iss)).toBe('issuer_unknown')
  })

  it('that is unknown causes no fetch and touches no key', async () => {
    const s = scene(issuer, { url: 'https://issuer.example.com', keys: { jwks_url: issuer.jwksUrl } })
    const before = { ...issuer.requests }
    for (let i = 0; i < 20; i++) await s.codeOf(await s.sign({ iss: `https://unknown-${i}.example.com` }))
    expect(issuer.requests).toEqual(before)
  })

  it('cannot speak for another: the key of one never verifies the tokens of the other', async () => {
    const policies = [issuerPolicy(issuer), { ...issuerPolicy(rsa), name: 'other' }]
    const s = scene(issuer, {}, { issuers: () => policies })
    expect(await s.codeOf(await s.sign())).toBe('ok')
    expect(await s.codeOf(await rsa.sign({}, { now: s.now() }))).toBe('ok')
    expect(await s.codeOf(await s.sign({ iss: rsa.url }))).toBe('token_invalid')
    expect(await s.codeOf(await rsa.sign({ iss: issuer.url }, { now: s.now() }))).toBe('token_invalid')
  })
})
