import { describe, expect, test } from 'vitest'
import { bearing } from '../../src/policy/bearing.ts'
import { compileCondition } from '../../src/policy/condition.ts'
import { type Held, judge } from '../../src/policy/judge.ts'
import { ask, base, checkout, edit, exception, guardrail, loadSet, noonMs } from './organisation.ts'

const held: Held = {
  workload: 'checkout',
  issuer: 'cluster-eu',
  subject: checkout.subject,
  purpose: 'read',
  environment: 'prod',
  credential: 'orders-ro',
  target: { engine: 'database', mount: 'database', role: 'orders-ro' },
  delivery: 'plain',
  reason: '',
  task: undefined,
  approval: undefined,
  ceilings: [],
  openedAtMs: noonMs - 600_000,
  issuedAtMs: noonMs - 600_000,
}
const minuteMs = 60_000
const dayMs = 86_400_000

describe('judge', () => {
  const cases: readonly [what: string, file: string, from: string, to: string, reason: string][] = [
    ['purpose', 'workload.yaml', 'id: read', 'id: look', 'purpose: read of checkout is gone'],
    ['workload', 'workload.yaml', 'name: checkout', 'name: till', 'workload: checkout is gone'],
    ['status', 'workload.yaml', 'status: active', 'status: suspended', 'workload.status: checkout is suspended'],
    ['sub', 'workload.yaml', 'orders:checkout"', 'orders:till"', 'workload.match: checkout asks for another sub'],
    ['sign-off', 'workload.yaml', 'signoff: { by: alice, on: 2026-11-02 }\n', '', 'is not signed off'],
    ['credential', 'workload.yaml', '[orders-ro, orders-rw]', '[orders-rw]', 'credential: read covers orders-rw'],
    ['role', 'credentials.yaml', 'role: orders-ro', 'role: orders-all', 'orders-ro is database/orders-all now'],
    [
      'delivery',
      'credentials.yaml',
      'role: orders-ro',
      'role: orders-ro\ndelivery: [wrapped]',
      'no more delivered plain',
    ],
    ['owner', 'teams.yaml', 'name: payments', 'name: payments\nstatus: retired', 'payments is retired'],
    ['issuer', 'issuer.yaml', 'environment: prod', 'environment: staging', 'environment: the token is of staging'],
  ]
  for (const [what, file, from, to, reason] of cases) {
    test(`names what is lost: ${what}`, async () => {
      expect(judge(await loadSet(edit(file, from, to)), held, noonMs)).toMatchObject({
        stands: false,
        reason: expect.stringContaining(reason),
      })
    })
  }

  test('counts every ceiling from issuance, and names the one that binds', async () => {
    expect(judge(await loadSet(), held, noonMs)).toEqual({
      stands: true,
      endsAtMs: noonMs + 50 * minuteMs,
      bound: 'purpose',
    })
    const lower = await loadSet(edit('workload.yaml', 'max: 1h', 'max: 15m'))
    expect(judge(lower, held, noonMs)).toMatchObject({ stands: true, endsAtMs: noonMs + 5 * minuteMs })
    expect(judge(lower, held, noonMs + 5 * minuteMs)).toMatchObject({ stands: false, reason: 'purpose: 15m is over' })
    const railed = await loadSet({ ...base, 'g.yaml': guardrail })
    const high = { ...held, credential: 'orders-rw', target: { ...held.target, role: 'orders-rw' } }
    expect(judge(railed, high, noonMs)).toMatchObject({
      stands: false,
      reason: 'approval: owner is asked for, and it was issued without',
    })
    const approved = { ...high, approval: 'ap_1' }
    expect(judge(railed, approved, noonMs)).toMatchObject({ endsAtMs: noonMs + 20 * minuteMs, bound: 'guardrail high' })
  })

  test('other fixed parameters are another thing; of what was issued before they were recorded nobody can tell', async () => {
    const fixed = (names: string) =>
      edit('credentials.yaml', 'engine: kv', `engine: kv\nkeys: ${names}`, {
        ...base,
        'e.yaml': exception('static_credential'),
      })
    const was = await loadSet(fixed('[a, b]'))
    const target = was.byName.credential.get('key')?.target
    if (target === undefined) throw new Error('no such credential')
    const key: Held = { ...held, purpose: 'export', credential: 'key', target }
    expect(judge(was, key, noonMs).stands).toBe(true)
    const is = await loadSet(fixed('[a]'))
    expect(judge(is, key, noonMs)).toMatchObject({ stands: false, reason: 'credential: key has other params now' })
    const { paramsDigest: _, ...unrecorded } = target
    expect(judge(is, { ...key, target: unrecorded }, noonMs).stands).toBe(true)
  })

  test('a static secret stands on its Exception, and falls with it', async () => {
    const key: Held = {
      ...held,
      purpose: 'export',
      credential: 'key',
      target: { engine: 'kv', mount: 'secret', role: 'vendor/key' },
    }
    const files = { ...base, 'e.yaml': exception('static_credential') }
    expect(judge(await loadSet(files), key, noonMs).stands).toBe(true)
    expect(judge(await loadSet(), key, noonMs)).toMatchObject({ stands: false, code: 'guardrail_denied' })
    const ended = { ...base, 'e.yaml': exception('static_credential').replace('2026-12-31', '2026-11-20') }
    expect(judge(await loadSet(ended), key, noonMs)).toMatchObject({ stands: false, code: 'exception_expired' })
  })
})

describe('the review ladder bounds a life from its start', () => {
  const reviewed = Date.UTC(2026, 10, 2)
  const lived = async (atMs: number, every: string) => {
    const set = await loadSet(
      edit(
        'workload.yaml',
        '{ default: 15m, max: 1h }\n    limits: { active: 4, per_minute: 30 }\n    renewable: true\n    review: { every: 90d',
        `{ max: 1h }\n    limits: { active: 4, per_minute: 30 }\n    renewable: true\n    review: { every: ${every}`,
      ),
    )
    const decision = ask(set, { nowMs: atMs })
    return decision.effect === 'allow'
      ? [decision.access.ttlSeconds / 60, decision.access.cappedBy.at(-1)]
      : decision.effect
  }
  test.each([
    ['long before it is due', 5 * dayMs, 60, undefined],
    ['50 minutes before, it ends when the review is due', 10 * dayMs - 50 * minuteMs, 50, 'review'],
    ['10 minutes before, half is what the next one would get', 10 * dayMs - 10 * minuteMs, 30, 'review'],
    ['overdue', 12 * dayMs, 30, 'review'],
    ['20 minutes before it lapses, nothing outlives that', 20 * dayMs - 20 * minuteMs, 20, 'review'],
  ])('%s', async (_, sinceMs, minutes, capped) => {
    expect(await lived(reviewed + sinceMs, '10d')).toEqual([minutes, capped])
  })
  test('lapsed', async () => {
    expect(await lived(reviewed + 20 * dayMs, '10d')).toBe('deny')
  })
  test('an Exception for the review gives no less than the ladder does', async () => {
    const files = {
      ...edit(
        'workload.yaml',
        'every: 90d, last: 2026-11-02, by: alice }\n  - id: export',
        'every: 10d, last: 2026-11-02, by: alice }\n  - id: export',
      ),
      'e.yaml': exception('review'),
    }
    const atMs = reviewed + 10 * dayMs - 10 * minuteMs
    expect(ask(await loadSet(files), { nowMs: atMs, request: { ttlSeconds: 3600 } })).toMatchObject({
      access: { ttlSeconds: 3600 },
    })
  })
})

describe('bearing', () => {
  test('names the workloads whose documents, teams, credentials or exceptions differ, and all for a guardrail or an issuer', async () => {
    const before = await loadSet()
    expect(await bearing(before, await loadSet())).toEqual(new Set())
    const touched = new Set(['checkout'])
    for (const [file, from, to] of [
      ['workload.yaml', 'max: 1h', 'max: 2h'],
      ['teams.yaml', 'name: payments', 'name: payments\nstatus: leaving'],
      ['credentials.yaml', 'role: orders-ro', 'role: orders-all'],
    ] as const) {
      expect(await bearing(before, await loadSet(edit(file, from, to))), file).toEqual(touched)
    }
    expect(await bearing(before, await loadSet({ ...base, 'e.yaml': exception('ttl', 'ttl: { max: 2h }\n') }))).toEqual(
      touched,
    )
    expect(await bearing(await loadSet(edit('workload.yaml', 'name: checkout', 'name: till')), before)).toEqual(
      new Set(['checkout', 'till']),
    )
    expect(await bearing(before, await loadSet({ ...base, 'g.yaml': guardrail }))).toBe('all')
    expect(await bearing(before, await loadSet(edit('issuer.yaml', 'environment: prod', 'environment: staging')))).toBe(
      'all',
    )
  })
})

test('a condition that turns on what nobody keeps has no value, unless the rest decides', async () => {
  const verdict = async (when: string) => {
    expect(compileCondition(when).ok, when).toBe(true)
    const set = await loadSet(
      edit('workload.yaml', 'renewable: true', `renewable: true\n    when: ${JSON.stringify(when)}`),
    )
    return judge(set, held, noonMs).stands
  }
  for (const unknown of [
    'claims.tier == "gold"',
    'has(claims.tier)',
    '!has(claims.tier)',
    'request.ip == ""',
    'request.ttl > 5',
    'has(request.params.csr)',
    '["a"].exists(x, x in claims)',
    'claims.tier == "gold" || request.reason != ""',
  ]) {
    expect(await verdict(unknown), unknown).toBe(true)
  }
  for (const no of [
    'request.reason != ""',
    'claims.tier == "gold" && request.reason != ""',
    'workload.type == "agent" ? has(claims.tier) : false',
    'now < timestamp("2026-11-22T11:00:00Z")',
    'int(request.reason) > 5',
  ]) {
    expect(await verdict(no), no).toBe(false)
  }
})
