import { describe, expect, test } from 'vitest'
import { standing } from '../../src/policy/decide.ts'
import { loadPolicies } from '../../src/policy/load.ts'
import { personOf, workloadsOf } from '../../src/policy/parties.ts'
import { ask, base, checkout, edit, exception, folder, guardrail, loadSet, noonMs, outcome } from './organisation.ts'

const dayMs = 86_400_000
const accessOf = (decision: ReturnType<typeof ask>) => {
  if (decision.effect === 'deny') throw new Error(JSON.stringify(decision.refusal))
  return decision.access
}

describe('every code has its rule', () => {
  const retired = `${base['teams.yaml']?.replace('name: payments', 'name: payments\nstatus: retired')}`
  const twin = {
    'twin.yaml': `${base['workload.yaml']}`
      .replace('name: checkout', 'name: twin')
      .replace('[key]', '[orders-ro]')
      .replace(
        'claims: { sub: "system:serviceaccount:orders:checkout" }',
        'claims: { kubernetes.io: { namespace: orders } }',
      ),
  }
  const cases: readonly [string, string, () => Promise<ReturnType<typeof ask>>][] = [
    ['allow', 'what the purpose covers', async () => ask(await loadSet())],
    [
      'workload_unknown',
      'claims that no workload asks for',
      async () => ask(await loadSet(), { identity: { claims: { sub: 'other' } } }),
    ],
    [
      'workload_unknown',
      'an issuer of another workload',
      async () => ask(await loadSet(), { identity: { issuer: 'other' } }),
    ],
    [
      'workload_ambiguous',
      'claims that two workloads ask for',
      async () =>
        ask(await loadSet({ ...base, ...twin }), {
          identity: { claims: { ...checkout.claims, 'kubernetes.io': { namespace: 'orders' } } },
        }),
    ],
    [
      'workload_suspended',
      'a suspended workload',
      async () => ask(await loadSet(edit('workload.yaml', 'status: active', 'status: suspended'))),
    ],
    [
      'workload_suspended',
      'a proposed workload',
      async () => ask(await loadSet(edit('workload.yaml', 'status: active', 'status: proposed'))),
    ],
    [
      'workload_suspended',
      'a retired workload',
      async () => ask(await loadSet(edit('workload.yaml', 'status: active', 'status: retired'))),
    ],
    ['owner_missing', 'a retired owner', async () => ask(await loadSet({ ...base, 'teams.yaml': retired }))],
    [
      'owner_missing',
      'production without a sign-off',
      async () => ask(await loadSet(edit('workload.yaml', 'signoff: { by: alice, on: 2026-11-02 }\n', ''))),
    ],
    [
      'purpose_unknown',
      'a purpose nobody declared',
      async () => ask(await loadSet(), { request: { purpose: 'write' } }),
    ],
    [
      'purpose_ended',
      'a purpose past its end',
      async () => ask(await loadSet(edit('workload.yaml', '    renewable: true', '    until: 2026-11-21'))),
    ],
    [
      'credential_not_in_purpose',
      'a credential of another purpose',
      async () => ask(await loadSet(), { request: { credential: 'key' } }),
    ],
    [
      'credential_not_in_purpose',
      'no choice between two',
      async () => ask(await loadSet(), { request: { credential: undefined } }),
    ],
    [
      'condition_failed',
      'a condition that is false',
      async () => ask(await loadSet(edit('workload.yaml', '    renewable: true', '    when: request.reason != ""'))),
    ],
    [
      'condition_failed',
      'a condition on a claim that is missing',
      async () => ask(await loadSet(edit('workload.yaml', '    renewable: true', '    when: claims.ref == "main"'))),
    ],
    [
      'condition_failed',
      'a token of another environment',
      async () => ask(await loadSet(), { identity: { environment: 'staging' } }),
    ],
    [
      'condition_failed',
      'a token of no environment',
      async () => ask(await loadSet(), { identity: { environment: undefined } }),
    ],
    [
      'guardrail_denied',
      'a guardrail that denies',
      async () =>
        ask(await loadSet({ ...base, 'g.yaml': `${guardrail}deny: request.task == ""\n` }), {
          request: { credential: 'orders-rw' },
        }),
    ],
    [
      'guardrail_denied',
      'a guardrail that cannot be decided',
      async () =>
        ask(await loadSet({ ...base, 'g.yaml': `${guardrail}deny: claims.level > 3\n` }), {
          request: { credential: 'orders-rw' },
        }),
    ],
    [
      'guardrail_denied',
      'a static secret that nothing allows',
      async () => ask(await loadSet(), { request: { purpose: 'export', credential: 'key' } }),
    ],
    [
      'exception_expired',
      'a static secret whose Exception has ended',
      async () =>
        ask(await loadSet({ ...base, 'e.yaml': exception('static_credential') }), {
          request: { purpose: 'export', credential: 'key' },
          nowMs: Date.UTC(2027, 0, 1),
        }),
    ],
    ['review_overdue', 'a review that lapsed', async () => ask(await loadSet(), { nowMs: noonMs + 190 * dayMs })],
    ['limit_reached', 'as many live credentials as allowed', async () => ask(await loadSet(), { active: 4 })],
    ['limit_reached', 'as many in a minute as allowed', async () => ask(await loadSet(), { lastMinute: 30 })],
    [
      'request_invalid',
      'a parameter the credential does not take',
      async () => ask(await loadSet(), { request: { params: { role: 'admin' } } }),
    ],
    [
      'request_invalid',
      'a delivery the credential does not have',
      async () =>
        ask(await loadSet(edit('credentials.yaml', 'role: orders-ro\n', 'role: orders-ro\ndelivery: [plain]\n')), {
          request: { delivery: 'wrapped' },
        }),
    ],
    [
      'needs_approval',
      'a guardrail that wants a yes',
      async () => ask(await loadSet({ ...base, 'g.yaml': guardrail }), { request: { credential: 'orders-rw' } }),
    ],
  ]
  test.each(cases)('%s: %s', async (code, _what, run) => {
    const decision = await run()
    expect(outcome(decision)).toBe(code)
    const reasons = decision.effect === 'deny' ? decision.refusal.reasons : decision.reasons
    // A refusal ends with what refused it; anything else has no failed rule.
    expect(reasons.some(({ ok }) => !ok)).toBe(decision.effect === 'deny')
    if (decision.effect === 'deny') expect(reasons.at(-1)?.ok).toBe(false)
  })
})

describe('deny beats allow', () => {
  test('a guardrail refuses what the condition and an approval would let pass', async () => {
    const set = await loadSet({
      ...edit('workload.yaml', '    renewable: true', '    when: "true"\n    approval: owner'),
      'g.yaml': 'kind: Guardrail\nname: stop\ndeny: true\n',
    })
    expect(outcome(ask(set))).toBe('guardrail_denied')
  })
  test('every guardrail that denies is named, not the first only', async () => {
    const set = await loadSet({
      ...base,
      'g.yaml':
        'kind: Guardrail\nname: b\ndeny: true\n---\nkind: Guardrail\nname: a\ndeny: "true"\n---\nkind: Guardrail\nname: c\ndeny: "false"\n',
    })
    const decision = ask(set)
    const failed =
      decision.effect === 'deny' ? decision.refusal.reasons.filter(({ ok }) => !ok).map(({ rule }) => rule) : []
    expect(failed).toEqual(['guardrail a', 'guardrail b'])
  })
})

describe('a credential never outlives its ceilings', () => {
  test('without a wish it lives as long as the purpose says', async () => {
    expect(accessOf(ask(await loadSet()))).toMatchObject({ ttlSeconds: 900, cappedBy: [] })
  })
  test('the purpose caps, and says so', async () => {
    expect(accessOf(ask(await loadSet(), { request: { ttlSeconds: 9000 } }))).toMatchObject({
      ttlSeconds: 3600,
      cappedBy: ['purpose'],
    })
  })
  test('the credential caps below the purpose', async () => {
    const set = await loadSet(edit('credentials.yaml', 'ttl: { max: 2h }', 'ttl: { max: 20m }'))
    expect(accessOf(ask(set, { request: { ttlSeconds: 9000 } }))).toMatchObject({
      ttlSeconds: 1200,
      cappedBy: ['purpose', 'credential'],
    })
  })
  test('a guardrail caps by its name', async () => {
    const set = await loadSet({ ...base, 'g.yaml': guardrail })
    expect(accessOf(ask(set, { request: { credential: 'orders-rw', ttlSeconds: 3600 } }))).toMatchObject({
      ttlSeconds: 1800,
      cappedBy: ['guardrail high'],
    })
    expect(accessOf(ask(set, { request: { credential: 'orders-ro', ttlSeconds: 3600 } })).ttlSeconds).toBe(3600)
  })
  test('the end of the task caps, and a task that is over leaves nothing', async () => {
    const set = await loadSet()
    const task = { task: 'tsk_1', taskEndsAtMs: noonMs + 90_500 }
    expect(accessOf(ask(set, { request: task }))).toMatchObject({ ttlSeconds: 90, cappedBy: ['task'] })
    expect(outcome(ask(set, { request: { ...task, taskEndsAtMs: noonMs } }))).toBe('condition_failed')
  })
  test('the end of the purpose caps on its last day', async () => {
    const set = await loadSet(edit('workload.yaml', '    renewable: true', '    until: 2026-11-22'))
    expect(accessOf(ask(set, { nowMs: Date.UTC(2026, 10, 22, 23, 59) }))).toMatchObject({
      ttlSeconds: 60,
      cappedBy: ['purpose until'],
    })
    expect(outcome(ask(set, { nowMs: Date.UTC(2026, 10, 23) }))).toBe('purpose_ended')
  })
  test('access by an Exception ends with it and names it', async () => {
    const set = await loadSet({ ...base, 'e.yaml': exception('static_credential') })
    const access = accessOf(
      ask(set, { request: { purpose: 'export', credential: 'key' }, nowMs: Date.UTC(2026, 11, 31, 23, 30) }),
    )
    expect(access).toMatchObject({
      ttlSeconds: 1800,
      cappedBy: ['exception static-credential-now'],
      exception: 'static-credential-now',
      renewable: false,
    })
  })
  test('the review ladder: whole, then half, then nothing', async () => {
    const set = await loadSet()
    const lastMs = Date.UTC(2026, 10, 2)
    const at = (days: number) => ask(set, { request: { ttlSeconds: 3600 }, nowMs: lastMs + days * dayMs })
    expect(accessOf(at(89)).ttlSeconds).toBe(3600)
    expect(accessOf(at(90))).toMatchObject({ ttlSeconds: 1800, cappedBy: ['review'] })
    expect(accessOf(at(179)).ttlSeconds).toBe(1800)
    expect(outcome(at(180))).toBe('review_overdue')
  })
})

describe('an Exception relaxes one rule, for one purpose, until its end', () => {
  test('environment', async () => {
    const set = await loadSet({ ...base, 'e.yaml': exception('environment') })
    expect(accessOf(ask(set, { identity: { environment: 'staging' } })).exception).toBe('environment-now')
    expect(accessOf(ask(set)).exception).toBeUndefined()
  })
  test('ttl stands in for the ceilings of guardrails, not of the purpose', async () => {
    const set = await loadSet({ ...base, 'g.yaml': guardrail, 'e.yaml': exception('ttl', 'ttl: { max: 3h }') })
    expect(accessOf(ask(set, { request: { credential: 'orders-rw', ttlSeconds: 9000 } }))).toMatchObject({
      ttlSeconds: 3600,
      cappedBy: ['purpose'],
    })
    const after = ask(set, { request: { credential: 'orders-rw', ttlSeconds: 9000 }, nowMs: Date.UTC(2027, 0, 1) })
    expect(accessOf(after).ttlSeconds).toBe(1800)
  })
  test('approval lifts that of guardrails, never that of the purpose', async () => {
    const rails = { 'g.yaml': guardrail, 'e.yaml': exception('approval') }
    expect(outcome(ask(await loadSet({ ...base, ...rails }), { request: { credential: 'orders-rw' } }))).toBe('allow')
    const own = edit('workload.yaml', '    renewable: true', '    approval: owner')
    expect(outcome(ask(await loadSet({ ...own, ...rails }), { request: { credential: 'orders-rw' } }))).toBe(
      'needs_approval',
    )
  })
  test('review', async () => {
    const late = edit('workload.yaml', 'last: 2026-11-02, by: alice }', 'last: 2025-11-02, by: alice }')
    expect(outcome(ask(await loadSet(late)))).toBe('review_overdue')
    expect(outcome(ask(await loadSet({ ...late, 'e.yaml': exception('review') })))).toBe('allow')
  })
  test('a guardrail may allow static secrets without one', async () => {
    const set = await loadSet({
      ...base,
      'g.yaml': 'kind: Guardrail\nname: legacy\napplies: { credential: key }\nallow_static: true\n',
    })
    expect(outcome(ask(set, { request: { purpose: 'export', credential: 'key' } }))).toBe('allow')
  })
})

describe('somebody answers', () => {
  const leaving = edit('teams.yaml', 'name: payments', 'name: payments\nstatus: leaving')
  test('while the owner is leaving, the backup approves', async () => {
    const decision = ask(await loadSet({ ...leaving, 'g.yaml': guardrail }), { request: { credential: 'orders-rw' } })
    expect(decision).toMatchObject({ effect: 'needs_approval', level: 'owner', approvers: ['platform'] })
  })
  test('with the owner leaving and the backup retired, nobody does', async () => {
    const both = edit('teams.yaml', 'name: platform', 'name: platform\nstatus: retired', leaving)
    expect(outcome(ask(await loadSet(both)))).toBe('owner_missing')
  })
  test('the higher of two levels wins, and two people may come from owner and backup', async () => {
    const set = await loadSet({
      ...edit('workload.yaml', '    renewable: true', '    approval: two-person'),
      'g.yaml': guardrail,
    })
    expect(ask(set, { request: { credential: 'orders-rw' } })).toMatchObject({
      level: 'two-person',
      approvers: ['payments', 'platform'],
    })
  })
  test('people are the members of teams that are not retired', async () => {
    const set = await loadSet(edit('teams.yaml', 'name: payments', 'name: payments\nstatus: retired'))
    expect(personOf(set, { issuer: 'cluster-eu', subject: 'alice' })).toBeUndefined()
    expect(personOf(set, { issuer: 'other', subject: 'carol' })).toBeUndefined()
    expect(personOf(set, { issuer: 'cluster-eu', subject: 'carol' })).toEqual({
      teams: ['platform'],
      roles: new Set(['operator']),
    })
  })
})

test('a retired workload gives way to its successor with the same match', async () => {
  const successor = `${base['workload.yaml']}`.replace('name: checkout', 'name: checkout2')
  const set = await loadSet({ ...edit('workload.yaml', 'status: active', 'status: retired'), 'new.yaml': successor })
  expect(workloadsOf(set, checkout)).toEqual(['checkout2'])
  expect(outcome(ask(set))).toBe('allow')
})

test('standing is the first half of the decision', async () => {
  const set = await loadSet()
  expect(standing(set, checkout, 'read', noonMs)).toEqual({
    ok: true,
    value: {
      workload: 'checkout',
      workloadType: 'service',
      owner: 'payments',
      backup: 'platform',
      purpose: 'read',
      environment: 'prod',
      limits: { active: 4, perMinute: 30 },
      maxTtlSeconds: 3600,
    },
  })
  expect(standing(set, { ...checkout, environment: 'staging' }, 'read', noonMs)).toMatchObject({
    refusal: { code: 'condition_failed' },
  })
  expect(standing(set, checkout, 'write', noonMs)).toMatchObject({ refusal: { code: 'purpose_unknown' } })
})

test('the subject of a refusal holds what had become known', async () => {
  const decision = ask(await loadSet(), { request: { credential: 'key' } })
  expect(decision).toMatchObject({
    subject: { workload: 'checkout', owner: 'payments', purpose: 'read', environment: 'prod' },
  })
})

test('conditions see the request, with zero values for what it leaves out', async () => {
  const when =
    'request.reason == "" && request.ttl == 0 && request.task == "" && request.delivery == "" && size(request.params) == 0'
  expect(
    outcome(ask(await loadSet(edit('workload.yaml', '    renewable: true', `    when: ${JSON.stringify(when)}`)))),
  ).toBe('allow')
  const ttl = 'request.ttl <= 600 && now < timestamp("2027-01-01T00:00:00Z") && issuer.flavour == "kubernetes"'
  const set = await loadSet(edit('workload.yaml', '    renewable: true', `    when: ${JSON.stringify(ttl)}`))
  expect(outcome(ask(set, { request: { ttlSeconds: 600 } }))).toBe('allow')
  expect(outcome(ask(set, { request: { ttlSeconds: 601 } }))).toBe('condition_failed')
})

test('where reviews count as attested at a time, those attested before it are current again', async () => {
  const later = noonMs + 1000 * dayMs
  const fresh = await loadPolicies(await folder(base), { reviewedAtMs: later - dayMs })
  expect(outcome(ask(await loadSet(), { nowMs: later }))).toBe('review_overdue')
  expect(fresh.ok && outcome(ask(fresh.set, { nowMs: later }))).toBe('allow')
})
