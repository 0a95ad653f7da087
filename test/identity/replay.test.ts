import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Identity } from '../../src/identity/identity.ts'
import { claimUse } from '../../src/identity/replay.ts'
import { createVerifier } from '../../src/identity/verify.ts'
import type { FakeClock } from '../support/clock.ts'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { issuerPolicy, recordedLog, scene } from './setup.ts'

let issuer: TestIssuer
let other: TestIssuer

beforeAll(async () => {
  issuer = await startIssuer()
  other = await startIssuer()
})
afterAll(() => Promise.all([issuer.close(), other.close()]))

/** The one verb of the state that replay needs, with the contract of the port. */
function claims(clock: FakeClock): {
  claim(key: string, untilMs: number): Promise<boolean>
  keys: Map<string, number>
} {
  const keys = new Map<string, number>()
  return {
    keys,
    claim(key, untilMs) {
      const taken = (keys.get(key) ?? 0) > clock.now()
      if (!taken) keys.set(key, untilMs)
      return Promise.resolve(!taken)
    },
  }
}

const use = async (...args: Parameters<typeof claimUse>): Promise<string> => {
  const result = await claimUse(...args)
  return result.ok ? 'ok' : result.refusal.code
}

describe('claimUse', () => {
  it('lets a token be used any number of times where the Issuer allows it, and keeps no record', async () => {
    const s = scene(issuer)
    const state = claims(s.clock)
    const identity = await s.identity(await s.sign())
    for (let i = 0; i < 3; i++) expect(await use(state, identity, { purpose: 'p' })).toBe('ok')
    expect(state.keys.size).toBe(0)
  })

  it('once: one use, whatever the purpose, and of 50 at once exactly one', async () => {
    const s = scene(issuer, { token: { replay: 'once' } })
    const state = claims(s.clock)
    const identity = await s.identity(await s.sign())
    const outcomes = await Promise.all(Array.from({ length: 50 }, (_, i) => use(state, identity, { purpose: `p${i}` })))
    expect(outcomes.filter((code) => code === 'ok')).toHaveLength(1)
    expect(await use(state, identity, {})).toBe('token_replayed')
    expect(await use(state, await s.identity(await s.sign()), {})).toBe('ok')
  })

  it('once: a new token of the same jti is the same token', async () => {
    const s = scene(issuer, { token: { replay: 'once' } })
    const state = claims(s.clock)
    const again = async (): Promise<Identity> => s.identity(await s.sign({ jti: 'same' }))
    expect(await use(state, await again(), {})).toBe('ok')
    expect(await use(state, await again(), {})).toBe('token_replayed')
  })

  it('once_per_purpose: one use for each purpose; requests without a purpose take none', async () => {
    const s = scene(issuer, { token: { replay: 'once_per_purpose' } })
    const state = claims(s.clock)
    const identity = await s.identity(await s.sign())
    for (const [purpose, code] of [
      ['a', 'ok'],
      ['b', 'ok'],
      ['a', 'token_replayed'],
      ['b', 'token_replayed'],
    ] as const) {
      expect(await use(state, identity, { purpose })).toBe(code)
    }
    expect(await use(state, identity, {})).toBe('ok')
    expect(await use(state, identity, {})).toBe('ok')
  })

  it('the same jti of two issuers is two tokens', async () => {
    const s = scene(issuer)
    const policies = [
      issuerPolicy(issuer, { token: { replay: 'once' } }),
      issuerPolicy(other, { name: 'other', token: { replay: 'once' } }),
    ]
    const verifier = createVerifier({ issuers: () => policies, clock: s.clock, log: recordedLog() })
    const state = claims(s.clock)
    for (const one of [issuer, other]) {
      const result = await verifier.verify(await one.sign({ jti: 'same' }, { now: s.now() }))
      if (!result.ok) throw new Error('refused')
      expect(await use(state, result.value, {})).toBe('ok')
    }
  })

  it('a jti and a purpose cannot be cut differently to look like another pair', async () => {
    const s = scene(issuer, { token: { replay: 'once_per_purpose' } })
    const state = claims(s.clock)
    for (const [jti, purpose] of [
      ['a', 'b:c'],
      ['a:b', 'c'],
      ['a","b', 'c'],
      ['a', 'b","c'],
    ] as const) {
      expect(await use(state, await s.identity(await s.sign({ jti })), { purpose })).toBe('ok')
    }
  })

  it('is remembered exactly as long as the token could be accepted', async () => {
    const s = scene(issuer, { token: { replay: 'once', leeway: '20s' } })
    const state = claims(s.clock)
    const token = await s.sign({ exp: s.now() + 60 })
    const identity = await s.identity(token)
    await use(state, identity, {})
    expect([...state.keys.values()]).toEqual([s.clock.now() + 80_000])
    await s.clock.advance(79_999)
    expect(await s.codeOf(token)).toBe('ok')
    expect(await use(state, identity, {})).toBe('token_replayed')
    await s.clock.advance(1)
    expect(await s.codeOf(token)).toBe('token_expired')
  })

  it('fails with the state, and never opens', async () => {
    const s = scene(issuer, { token: { replay: 'once' } })
    const down = { claim: () => Promise.reject(new Error('state is down')) }
    await expect(claimUse(down, await s.identity(await s.sign()), {})).rejects.toThrow('state is down')
  })
})
