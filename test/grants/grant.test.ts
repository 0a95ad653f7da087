import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { newId } from '../../src/base/ids.ts'
import { advance, type Grant, type GrantEntry, grantOfIntent, latestEndMs, mayFollow } from '../../src/grants/grant.ts'

const startMs = Date.UTC(2026, 10, 22)
const actor = { type: 'workload', name: 'checkout', issuer: 'cluster-eu', subject: 's' } as const
const about = { actor, workload: 'checkout', owner: 'payments', purpose: 'read-orders', grant: newId('gr', startMs) }

const intent: Extract<GrantEntry, { kind: 'grant.intent' }> = {
  ...about,
  kind: 'grant.intent',
  engine: 'database',
  mount: 'database',
  role: 'orders-ro',
  delivery: 'plain',
  ttl: 900,
  ceilings: [
    { name: 'request', seconds: 900 },
    { name: 'purpose', seconds: 3600 },
    { name: 'credential', seconds: 7200 },
  ],
  data: [],
  sensitivity: 'low',
}
const issued: GrantEntry = {
  ...about,
  kind: 'grant.issued',
  data: ['orders'],
  sensitivity: 'medium',
  ceilings: [],
  lease: { hash: 'a'.repeat(64), sealed: 'sealed' },
  ids: [{ type: 'database_user', value: 'v-user' }],
  expires: new Date(startMs + 900_000).toISOString(),
  renewable: true,
  revocable: true,
  static: false,
}
const failed: GrantEntry = { ...about, kind: 'grant.failed', code: 'engine_refused', ambiguous: false, detail: '' }
const renewed: GrantEntry = {
  ...about,
  kind: 'grant.renewed',
  expires: new Date(startMs + 1_800_000).toISOString(),
  ceilings: [],
}
const ending: GrantEntry = { ...about, kind: 'grant.ending', cause: 'kill_switch' }
const ended: GrantEntry = { ...about, kind: 'grant.ended', cause: 'kill_switch', outcome: 'revoked' }
const entries = [issued, failed, renewed, ending, ended]

const minting = (): Grant => grantOfIntent(intent, startMs, 7)

describe('the life of a grant', () => {
  test('goes from minting through active to ended, and keeps where each step stands in the ledger', () => {
    const active = advance(minting(), issued, startMs + 5, 8)
    expect(active).toMatchObject({ status: 'active', issuedAtMs: startMs + 5, expiresAtMs: startMs + 900_000 })
    const over = advance(advance(active, ending, startMs + 6, 9), ended, startMs + 7, 10)
    expect(over).toMatchObject({
      status: 'ended',
      outcome: 'revoked',
      cause: 'kill_switch',
      ledger: { intent: 7, issued: 8, ended: 10 },
    })
    expect(over.lease).toEqual({ hash: 'a'.repeat(64), sealed: '' })
  })

  test('a switch pulled while Vault mints leaves the grant ending, with the lease it must revoke', () => {
    const pulled = advance(minting(), ending, startMs, 8)
    expect(advance(pulled, issued, startMs, 9)).toMatchObject({ status: 'ending', lease: { sealed: 'sealed' } })
  })

  test('the first cause stands, whoever tries again later', () => {
    const once = advance(advance(minting(), issued, startMs, 8), ending, startMs, 9)
    expect(advance(once, { ...ending, cause: 'revoked' } as GrantEntry, startMs, 10).cause).toBe('kill_switch')
  })

  test('no order of entries revives what has ended, and every illegal step throws', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...entries), { maxLength: 12 }), (steps) => {
        let grant = minting()
        for (const [i, step] of steps.entries()) {
          const before = grant
          if (!mayFollow(grant.status, step.kind)) {
            expect(() => advance(before, step, startMs + i, 8 + i)).toThrow(/may not follow/)
            continue
          }
          grant = advance(grant, step, startMs + i, 8 + i)
          expect(before.status).not.toBe('ended')
          if (grant.status === 'active') expect(grant.ledger.issued).toBeDefined()
          if (grant.status === 'ended') expect([grant.outcome, grant.endedAtMs]).not.toContain(undefined)
        }
      }),
    )
  })

  test('a renewal may reach the smallest standing ceiling, counted from issuance, whatever the request asked', () => {
    const active = advance(minting(), issued, startMs, 8)
    expect(latestEndMs(active)).toBe(startMs + 3_600_000)
    expect(latestEndMs(minting())).toBeUndefined()
  })
})
