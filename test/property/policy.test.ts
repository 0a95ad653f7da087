import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compile, type LinkedPolicies, type PolicySet } from '../../src/policy/compile.ts'
import { type Condition, compileCondition } from '../../src/policy/condition.ts'
import { credentialSchema } from '../../src/policy/credential.ts'
import { decide } from '../../src/policy/decide.ts'
import type { AccessRequest, Decision } from '../../src/policy/decision.ts'
import { parsePolicyText } from '../../src/policy/document.ts'
import { type GuardrailPolicy, guardrailSchema } from '../../src/policy/guardrail.ts'
import { issuerSchema } from '../../src/policy/issuer.ts'
import { compileGlob } from '../../src/policy/match.ts'
import { teamSchema } from '../../src/policy/team.ts'
import { type WorkloadPolicy, workloadSchema } from '../../src/policy/workload.ts'

const nowMs = Date.UTC(2026, 10, 22, 12)
const conditionTexts = [
  'true',
  'false',
  'request.task == ""',
  'claims.level > 2',
  'workload.type == "agent"',
  'request.reason != "" || claims.ref == "main"',
]
const conditions: ReadonlyMap<string, Condition> = new Map(
  conditionTexts.map((text) => {
    const compiled = compileCondition(text)
    if (!compiled.ok) throw new Error(compiled.problem.message)
    return [text, compiled.condition]
  }),
)
const oneOf = <T>(...values: readonly T[]) => fc.constantFrom(...values)
const duration = oneOf('1m', '15m', '30m', '1h', '4h')

const guardrail: fc.Arbitrary<GuardrailPolicy> = fc
  .record(
    {
      applies: fc.record(
        { environment: oneOf('prod', 'staging'), sensitivity: oneOf('low', 'high'), type: oneOf('agent', 'service') },
        { requiredKeys: [] },
      ),
      ttl: fc.record({ max: duration }),
      approval: oneOf('owner', 'two-person'),
      deny: oneOf<string | true>(true, ...conditionTexts),
    },
    { requiredKeys: ['applies'] },
  )
  .chain((fields) =>
    fc
      .integer({ min: 0, max: 1e9 })
      .map((id) => guardrailSchema.parse({ kind: 'Guardrail', name: `g${id}`, ...fields })),
  )

const purpose = fc
  .record({
    because: fc.constant('x'),
    environment: fc.constant('prod'),
    credentials: fc.uniqueArray(oneOf('low', 'high', 'key'), { minLength: 1 }),
    ttl: fc.record({ max: duration }),
    approval: oneOf('none', 'owner', 'two-person'),
    when: fc.option(oneOf(...conditionTexts), { nil: undefined }),
    limits: fc.record({ active: fc.integer({ min: 1, max: 3 }) }, { requiredKeys: [] }),
    until: fc.option(oneOf('2026-11-21', '2026-11-22', '2027-01-01'), { nil: undefined }),
    review: fc.option(
      fc.record({ every: oneOf('1d', '30d', '90d'), last: oneOf('2026-11-02', '2026-06-01'), by: fc.constant('a') }),
      { nil: undefined },
    ),
  })
  .map(({ when, until, review, ...rest }) => ({
    ...rest,
    ...(when && { when }),
    ...(until && { until }),
    ...(review && { review }),
  }))

const workload: fc.Arbitrary<WorkloadPolicy> = fc
  .record({ type: oneOf('service', 'agent'), purposes: fc.array(purpose, { minLength: 2, maxLength: 4 }) })
  .map(({ type, purposes }) =>
    workloadSchema.parse({
      kind: 'Workload',
      name: 'w',
      type,
      system: 's',
      owner: 'a',
      backup: 'b',
      custodian: 'b',
      status: 'active',
      signoff: { by: 'a', on: '2026-11-02' },
      match: { issuer: 'i', claims: { sub: 'w' } },
      purposes: purposes.map((fields, at) => ({ id: `p${at}`, ...fields })),
    }),
  )

const credential = (name: string, fields: object) =>
  credentialSchema.parse({
    kind: 'Credential',
    name,
    mount: 'm',
    environment: 'prod',
    sensitivity: name === 'high' ? 'high' : 'low',
    ...fields,
  })
const team = (name: string) => teamSchema.parse({ kind: 'Team', name, contact: { email: 'a@example.com' } })

function setOf(one: WorkloadPolicy, guardrails: readonly GuardrailPolicy[]): Promise<PolicySet> {
  const linked: LinkedPolicies = {
    digest: 'd',
    issuers: [
      issuerSchema.parse({
        kind: 'Issuer',
        name: 'i',
        url: 'u',
        audience: 'a',
        keys: { discovery: true },
        environment: 'prod',
      }),
    ],
    teams: [team('a'), team('b')],
    credentials: [
      credential('low', { engine: 'database', role: 'low', ttl: { max: '2h' } }),
      credential('high', { engine: 'database', role: 'high', ttl: { max: '30m' } }),
      credential('key', { engine: 'kv', path: 'k' }),
    ],
    workloads: [one],
    exceptions: [],
    guardrails,
    warnings: [],
    conditions,
  }
  return compile(linked)
}

const question = fc.record({
  purpose: oneOf('p0', 'p1', 'p2', 'p3'),
  credential: oneOf('low', 'high', 'key', undefined),
  ttlSeconds: oneOf(undefined, 1, 600, 7200, 1_000_000),
  reason: oneOf('', 'why'),
  task: oneOf('', 'tsk_1'),
  level: oneOf<string | number | undefined>(undefined, 1, 5, 'high'),
  active: oneOf(0, 2, 5),
})
type Question = typeof question extends fc.Arbitrary<infer Q> ? Q : never

function ask(set: PolicySet, { level, active, ...wanted }: Question): Decision {
  const request: AccessRequest = { ...wanted, taskEndsAtMs: undefined, params: {}, delivery: undefined, ip: '' }
  const claims = level === undefined ? { sub: 'w' } : { sub: 'w', level }
  return decide(
    set,
    { issuer: 'i', subject: 'w', claims, environment: 'prod' },
    request,
    { active, lastMinute: 0 },
    nowMs,
  )
}

const order: readonly string[] = ['none', 'owner', 'two-person']
/** How much a decision gives: nothing, or a life and the approval it takes. */
const power = (decision: Decision) =>
  decision.effect === 'deny'
    ? { ttl: 0, ease: -1 }
    : {
        ttl: decision.access.ttlSeconds,
        ease: 2 - order.indexOf(decision.effect === 'allow' ? 'none' : decision.level),
      }

function expectNoWider(before: Decision, after: Decision): void {
  expect(power(after).ttl).toBeLessThanOrEqual(power(before).ttl)
  expect(power(after).ease).toBeLessThanOrEqual(power(before).ease)
}

describe('invariant 5: access only ever narrows', () => {
  test('adding a guardrail never widens', async () => {
    const allowed = { count: 0 }
    await fc.assert(
      fc.asyncProperty(
        workload,
        fc.array(guardrail, { maxLength: 3 }),
        guardrail,
        fc.array(question, { minLength: 20, maxLength: 20 }),
        async (one, rails, more, questions) => {
          const [before, after] = [await setOf(one, rails), await setOf(one, [...rails, more])]
          for (const asked of questions) {
            const was = ask(before, asked)
            if (was.effect !== 'deny') allowed.count++
            expectNoWider(was, ask(after, asked))
          }
        },
      ),
      { numRuns: 150 },
    )
    // The property is empty if nothing is ever allowed.
    expect(allowed.count).toBeGreaterThan(50)
  })

  test('removing a purpose never widens', async () => {
    await fc.assert(
      fc.asyncProperty(
        workload,
        fc.array(guardrail, { maxLength: 2 }),
        fc.nat({ max: 3 }),
        fc.array(question, { minLength: 20, maxLength: 20 }),
        async (one, rails, gone, questions) => {
          const less = { ...one, purposes: one.purposes.filter((_, at) => at !== gone % one.purposes.length) }
          const [before, after] = [await setOf(one, rails), await setOf(less, rails)]
          for (const asked of questions) expectNoWider(ask(before, asked), ask(after, asked))
        },
      ),
      { numRuns: 150 },
    )
  })
})

test('invariant 4: the same question gets the same bytes', async () => {
  await fc.assert(
    fc.asyncProperty(workload, fc.array(guardrail, { maxLength: 3 }), question, async (one, rails, asked) => {
      const first = ask(await setOf(one, rails), asked)
      const second = ask(await setOf(structuredClone(one), [...rails].reverse()), asked)
      expect(JSON.stringify(second)).toBe(JSON.stringify(first))
    }),
    { numRuns: 150 },
  )
})

test('invariant 8: the life is at most every ceiling, and what caps it is named', async () => {
  await fc.assert(
    fc.asyncProperty(workload, fc.array(guardrail, { maxLength: 3 }), question, async (one, rails, asked) => {
      const decision = ask(await setOf(one, rails), asked)
      if (decision.effect === 'deny') return
      const { ceilings, ttlSeconds, cappedBy } = decision.access
      for (const { seconds } of ceilings) expect(ttlSeconds).toBeLessThanOrEqual(seconds)
      const binding = ceilings.find(({ seconds }) => seconds === ttlSeconds)
      expect(cappedBy.at(-1)).toBe(binding?.name === 'request' ? undefined : binding?.name)
    }),
    { numRuns: 200 },
  )
})

describe('globs', () => {
  const text = fc.array(oneOf('a', 'b', '/', ':', '-', 'ü', '.'), { maxLength: 12 }).map((parts) => parts.join(''))
  test('a star never stands for a separator', () => {
    fc.assert(
      fc.property(text, text, text, (head, middle, tail) => {
        const pattern = `${head}*${tail}`
        if (!compileGlob(pattern)(`${head}${middle}${tail}`)) return
        expect(middle).not.toMatch(/[/:]/)
        expect(middle).not.toBe('')
      }),
    )
  })
  test('agrees with the obvious regular expression', () => {
    const pattern = fc
      .array(oneOf('a', 'b', '/', ':', '*'), { maxLength: 10 })
      .map((parts) => parts.join('').replace(/\*[^/:]*\*/g, '*'))
    fc.assert(
      fc.property(
        pattern.filter((glob) => !/\*[^/:]*\*/.test(glob)),
        text,
        (glob, value) => {
          const expression = new RegExp(`^${glob.replaceAll('*', '[^/:]+')}$`)
          expect(compileGlob(glob)(value)).toBe(expression.test(value))
        },
      ),
      { numRuns: 2000 },
    )
  })
})

test('no text makes the reader throw, and what it accepts it accepts in any order of keys', () => {
  const line = oneOf(
    'kind: Team',
    'name: a',
    'status: active',
    'contact: { email: a@b.c }',
    'x: &a [1]',
    '- b',
    '  c: "',
    '---',
    '\tq: 1',
    '? z',
    'roles: []',
  )
  fc.assert(
    fc.property(
      fc.array(fc.oneof({ weight: 5, arbitrary: line }, { weight: 1, arbitrary: fc.string() }), { maxLength: 8 }),
      (lines) => {
        const forward = parsePolicyText(lines.join('\n'))
        if (forward.problems.length > 0 || forward.documents.length !== 1 || lines.includes('---')) return
        const backward = parsePolicyText([...lines].reverse().join('\n'))
        expect(backward.documents.map(({ digest }) => digest)).toEqual(forward.documents.map(({ digest }) => digest))
      },
    ),
    { numRuns: 500 },
  )
})
