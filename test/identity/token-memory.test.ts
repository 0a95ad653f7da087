import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createTokenMemory, type GenuineToken } from '../../src/identity/token-memory.ts'
import type { IssuerPolicy } from '../../src/policy/issuer.ts'
import { signingKey, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { issuerPolicy, scene } from './setup.ts'

let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer()
})
afterEach(() => vi.restoreAllMocks())
afterAll(() => issuer.close())

describe('a token that was accepted before', () => {
  it('costs one signature however often it is used, and says the same each time', async () => {
    const s = scene(issuer)
    const token = await s.sign()
    const computed = vi.spyOn(crypto.subtle, 'verify')
    const explained = [
      await s.verifier.explain(token),
      await s.verifier.explain(token),
      await s.verifier.explain(token),
    ]
    expect(new Set(explained.map((each) => JSON.stringify(each))).size).toBe(1)
    expect(explained[0]?.result.ok).toBe(true)
    expect(computed).toHaveBeenCalledTimes(1)
  })

  it('is not remembered where the Issuer allows one use', async () => {
    const s = scene(issuer, { token: { replay: 'once' } })
    const token = await s.sign()
    const computed = vi.spyOn(crypto.subtle, 'verify')
    expect([await s.codeOf(token), await s.codeOf(token)]).toEqual(['ok', 'ok'])
    expect(computed).toHaveBeenCalledTimes(2)
  })

  it('is refused as soon as it has expired, or is older than the Issuer allows', async () => {
    const s = scene(issuer, { token: { max_age: '2m', leeway: '1s' } })
    const short = await s.sign({ exp: s.now() + 60 })
    const long = await s.sign({ exp: s.now() + 3600 })
    expect([await s.codeOf(short), await s.codeOf(long)]).toEqual(['ok', 'ok'])
    await s.clock.advance(61_000)
    expect([await s.codeOf(short), await s.codeOf(long)]).toEqual(['token_expired', 'ok'])
    await s.clock.advance(60_500)
    expect(await s.codeOf(long)).toBe('token_too_old')
  })

  it.each<[string, object, string]>([
    ['audience', { audience: 'https://another.example.com' }, 'audience_mismatch'],
    ['list of algorithms', { algorithms: ['RS256'] }, 'token_invalid'],
    ['url', { url: 'https://another.example.com' }, 'issuer_unknown'],
  ])('is refused when the %s of its Issuer is another after a reload', async (_, change, code) => {
    let policies: readonly IssuerPolicy[] = [issuerPolicy(issuer)]
    const s = scene(issuer, {}, { issuers: () => policies })
    const token = await s.sign()
    expect(await s.codeOf(token)).toBe('ok')
    policies = [issuerPolicy(issuer, { keys: { jwks: issuer.jwks() }, ...change })]
    expect(await s.codeOf(token)).toBe(code)
  })

  it('is refused when its key was withdrawn, also when another key has taken the name', async () => {
    let policies: readonly IssuerPolicy[] = [issuerPolicy(issuer)]
    const s = scene(issuer, {}, { issuers: () => policies })
    const token = await s.sign()
    expect(await s.codeOf(token)).toBe('ok')
    const namesake = await signingKey('ES256', issuer.key().kid)
    policies = [issuerPolicy(issuer, { keys: { jwks: { keys: [namesake.jwk] } } })]
    expect(await s.whyNot(token)).toBe('signature: not made by that key')
    const stranger = await signingKey('ES256')
    policies = [issuerPolicy(issuer, { keys: { jwks: { keys: [stranger.jwk] } } })]
    expect(await s.whyNot(token)).toMatch(/^key: .*the issuer has no such key/)
    policies = [issuerPolicy(issuer)]
    expect(await s.codeOf(token)).toBe('ok')
  })

  it('vouches for no other token: one changed character and the signature counts again', async () => {
    const s = scene(issuer)
    const token = await s.sign()
    expect(await s.codeOf(token)).toBe('ok')
    const position = fc.nat({ max: token.length - 1 }).filter((at) => token[at] !== '.')
    await fc.assert(
      fc.asyncProperty(position, fc.constantFrom('A', 'b', '7', '_'), async (at, character) => {
        fc.pre(token[at] !== character)
        expect(await s.codeOf(token.slice(0, at) + character + token.slice(at + 1))).not.toBe('ok')
      }),
      { numRuns: 50 },
    )
  })
})

describe('the memory of tokens', () => {
  const genuine = {} as GenuineToken

  it('holds 1024 and forgets the one longest unused', () => {
    const memory = createTokenMemory()
    for (let i = 0; i < 1024; i++) memory.keep(`token ${i}`, genuine)
    expect(memory.recall('token 0')).toBe(genuine)
    memory.keep('one more', genuine)
    expect(memory.recall('token 1')).toBeUndefined()
    expect([memory.recall('token 0'), memory.recall('token 2'), memory.recall('one more')]).toEqual(
      Array(3).fill(genuine),
    )
  })

  it('holds none longer than 4096 characters, so that its size is bounded', () => {
    const memory = createTokenMemory()
    memory.keep('x'.repeat(4096), genuine)
    memory.keep('y'.repeat(4097), genuine)
    expect(memory.recall('x'.repeat(4096))).toBe(genuine)
    expect(memory.recall('y'.repeat(4097))).toBeUndefined()
  })
})
