import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Claims } from '../../src/identity/identity.ts'
import { bearing } from '../../src/policy/bearing.ts'
import { compile, type LinkedPolicies, type PolicySet } from '../../src/policy/compile.ts'
import { type Condition, compileCondition } from '../../src/policy/condition.ts'
import { credentialSchema } from '../../src/policy/credential.ts'
import { decide } from '../../src/policy/decide.ts'
import type { AccessRequest, Decision } from '../../src/policy/decision.ts'
import { exceptionSchema } from '../../src/policy/exception.ts'
import { guardrailSchema } from '../../src/policy/guardrail.ts'
import { issuerSchema } from '../../src/policy/issuer.ts'
import { type Held, judge } from '../../src/policy/judge.ts'
import { teamSchema } from '../../src/policy/team.ts'
import { workloadSchema } from '../../src/policy/workload.ts'

const dayMs = 86_400_000
const issuedAtMs = Date.UTC(2026, 10, 22, 12)

// What is kept of a grant decides these, whatever its token said.
const keptTexts = [
  'true',
  'false',
  'request.reason != ""',
  'request.task == ""',
  'workload.type == "agent"',
  'credential.sensitivity == "high"',
  'now.getHours() < 13',
  'now < timestamp("2026-11-22T11:00:00Z")',
  'request.delivery == "wrapped" || issuer.name == "i"',
]
// And these need the token, or the request, unless the other half decides.
const tokenTexts = [
  'claims.level > 2',
  'has(claims.level)',
  '!has(claims.level) || claims.level == 1',
  'request.ip == "192.0.2.1"',
  'request.ttl > 600',
  'request.reason != "" && claims.level > 2',
  'request.reason != "" || claims.level > 2',
  'workload.type == "agent" ? has(claims.level) : false',
]
const conditions: ReadonlyMap<string, Condition> = new Map(
  [...keptTexts, ...tokenTexts].map((text) => {
    const compiled = compileCondition(text)
    if (!compiled.ok) throw new Error(`${text}: ${compiled.problem.message}`)
    return [text, compiled.condition]
  }),
)

const oneOf = <T>(...values: readonly T[]) => fc.constantFrom(...values)
const mostly = <T>(usual: T, ...others: readonly T[]) =>
  fc.oneof({ weight: 6, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: oneOf(...others) })
const maybe = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary })
const duration = oneOf('1m', '15m', '30m', '1h', '4h', '2d')
const day = (offset: number): string => new Date(issuedAtMs + offset * dayMs).toISOString().slice(0, 10)

const purposeOf = (texts: readonly string[]) =>
  fc.record({
    environment: mostly('prod', 'staging'),
    credentials: oneOf(['low', 'high'], ['low', 'high', 'key'], ['low'], ['high']),
    ttl: fc.record({ max: duration }),
    approval: mostly('none', 'owner'),
    when: maybe(oneOf(...texts)),
    until: maybe(oneOf(day(-1), day(0), day(1))),
    review: maybe(
      fc.record({ every: oneOf('1d', '2d', '30d'), last: oneOf(day(-1), day(-3), day(-40)), by: fc.constant('a') }),
    ),
  })

const guardrailOf = (texts: readonly string[]) =>
  fc.record(
    {
      applies: fc.record(
        { sensitivity: oneOf('low', 'high'), type: oneOf('agent', 'service'), credential: oneOf('low', 'key') },
        { requiredKeys: [] },
      ),
      ttl: fc.record({ max: duration }),
      approval: fc.constant('owner'),
      deny: oneOf<string | true>(true, ...texts),
      allow_static: fc.constant(true),
    },
    { requiredKeys: ['applies'] },
  )

const organisationOf = (texts: readonly string[]) =>
  fc.record({
    type: oneOf('service', 'agent'),
    status: mostly('active', 'suspended', 'retired'),
    signoff: mostly(true, false),
    sub: mostly('w', 'other'),
    owner: mostly('active', 'leaving', 'retired'),
    backup: mostly('active', 'retired'),
    issuerEnvironment: mostly<unknown>(
      'prod',
      'staging',
      { claim: 'stage', map: { p: 'prod' } },
      { claim: 'stage', map: {} },
    ),
    issuer: mostly('i', 'j'),
    lowRole: mostly('low', 'lower'),
    delivery: mostly(['plain', 'wrapped'], ['wrapped']),
    purposes: fc.array(purposeOf(texts), { minLength: 1, maxLength: 3 }),
    guardrails: fc.array(guardrailOf(texts), { maxLength: 2 }),
    exceptions: fc.uniqueArray(oneOf('static_credential', 'ttl', 'approval', 'review', 'environment'), {
      maxLength: 2,
    }),
    exceptionUntil: oneOf(day(-2), day(0), day(30)),
  })
type Organisation = typeof organisationOf extends (texts: readonly string[]) => fc.Arbitrary<infer O> ? O : never

let sets = 0
function setOf(one: Organisation, alongside: readonly object[] = []): Promise<PolicySet> {
  const team = (name: string, status: string) =>
    teamSchema.parse({ kind: 'Team', name, status, contact: { email: 'a@example.com' } })
  const credential = (name: string, fields: object) =>
    credentialSchema.parse({
      kind: 'Credential',
      name,
      mount: 'm',
      environment: 'prod',
      sensitivity: name === 'high' ? 'high' : 'low',
      delivery: one.delivery,
      ...fields,
    })
  const workload = workloadSchema.parse({
    kind: 'Workload',
    name: 'w',
    type: one.type,
    system: 's',
    owner: 'a',
    backup: 'b',
    custodian: 'b',
    status: one.status,
    ...(one.signoff ? { signoff: { by: 'a', on: '2026-11-02' } } : {}),
    match: { issuer: one.issuer, claims: { sub: one.sub } },
    purposes: one.purposes.map(({ when, until, review, ...rest }, at) => ({
      id: `p${at}`,
      because: 'x',
      ...rest,
      ...(when && { when }),
      ...(until && { until }),
      ...(review && { review }),
    })),
  })
  const issuer = (name: string) =>
    issuerSchema.parse({
      kind: 'Issuer',
      name,
      url: name,
      audience: 'a',
      keys: { discovery: true },
      environment: one.issuerEnvironment,
    })
  const linked: LinkedPolicies = {
    digest: `d${sets++}`,
    issuers: [...new Set(['i', one.issuer])].map(issuer),
    teams: [team('a', one.owner), team('b', one.backup)],
    credentials: [
      credential('low', { engine: 'database', role: one.lowRole, ttl: { max: '2h' } }),
      credential('high', { engine: 'database', role: 'high', ttl: { max: '1d' } }),
      credential('key', { engine: 'kv', path: 'k' }),
    ],
    workloads: [workload],
    exceptions: one.exceptions.map((relaxes) =>
      exceptionSchema.parse({
        kind: 'Exception',
        name: relaxes.replaceAll('_', '-'),
        relaxes,
        workload: 'w',
        purpose: 'p0',
        reason: 'x',
        compensating: 'x',
        requested_by: 'a',
        approved_by: 'b',
        until: one.exceptionUntil,
        ...(relaxes === 'ttl' ? { ttl: { max: '1h' } } : {}),
      }),
    ),
    guardrails: [...one.guardrails, ...alongside].map((fields, at) =>
      guardrailSchema.parse({ kind: 'Guardrail', name: `g${at}`, ...fields }),
    ),
    warnings: [],
    conditions,
  }
  return compile(linked)
}

const question = fc.record({
  purpose: oneOf('p0', 'p1'),
  credential: oneOf('low', 'high', 'key'),
  delivery: oneOf('plain', 'wrapped'),
  ttlSeconds: oneOf(undefined, 60, 600, 1_000_000),
  reason: oneOf('', 'why'),
  task: oneOf('', 'tsk_1'),
  level: oneOf<number | undefined>(undefined, 1, 5),
  ip: oneOf('192.0.2.1', '198.51.100.9'),
})
type Question = typeof question extends fc.Arbitrary<infer Q> ? Q : never

const claimsOf = ({ level }: Question): Claims => ({ sub: 'w', stage: 'p', ...(level === undefined ? {} : { level }) })

/** What a decision comes to for a token of that workload; the environment is what the issuer of the set makes of it. */
function ask(set: PolicySet, asked: Question, atMs: number, ttlSeconds = asked.ttlSeconds): Decision {
  const { level: _, ...wanted } = asked
  const source = set.byName.issuer.get('i')?.policy.environment
  const environment = typeof source === 'object' ? source.map.p : source
  const request: AccessRequest = { ...wanted, ttlSeconds, taskEndsAtMs: undefined, params: {} } as AccessRequest
  const counters = { active: 0, lastMinute: 0 }
  return decide(set, { issuer: 'i', subject: 'w', claims: claimsOf(asked), environment }, request, counters, atMs)
}

/** The grant a set gives for a question, with what the ledger keeps of it; `undefined` when it gives none. */
function give(set: PolicySet, asked: Question): (Held & { readonly expiresAtMs: number }) | undefined {
  const decision = ask(set, asked, issuedAtMs)
  if (decision.effect === 'deny') return undefined
  const { access } = decision
  return {
    workload: access.workload,
    issuer: 'i',
    subject: 'w',
    purpose: access.purpose,
    environment: access.environment,
    credential: access.credential,
    target: access.target,
    delivery: access.delivery,
    reason: asked.reason,
    task: asked.task === '' ? undefined : asked.task,
    approval: decision.effect === 'needs_approval' ? 'ap_1' : undefined,
    ceilings: access.ceilings,
    openedAtMs: issuedAtMs,
    issuedAtMs,
    expiresAtMs: issuedAtMs + access.ttlSeconds * 1000,
  }
}

const forever = Number.MAX_SAFE_INTEGER
const laterMs = fc.integer({ min: 0, max: 3 * dayMs })

/** Until when a set would have given it, had it been asked at its issuance; `undefined` when it would not have. */
function freshEndMs(set: PolicySet, held: Held, asked: Question): number | undefined {
  const decision = ask(set, asked, issuedAtMs, forever)
  if (decision.effect === 'deny') return undefined
  if (decision.effect === 'needs_approval' && held.approval === undefined) return undefined
  const { target, environment } = decision.access
  // The same name for something else is not the same thing.
  if (target.role !== held.target.role || target.engine !== held.target.engine) return undefined
  return environment === held.environment ? issuedAtMs + decision.access.ttlSeconds * 1000 : undefined
}

/**
 * Where a claim names the environment, nobody knows any more whether a grant needed its Exception for that. What rested on an Exception
 * that is gone then ends with it, though some of it would be given again.
 */
const mayHaveNeededException = (set: PolicySet, held: Held): boolean =>
  typeof set.byName.issuer.get('i')?.policy.environment === 'object' &&
  held.ceilings.some(
    ({ name }) => name.startsWith('exception ') && !set.exceptions.some((one) => name === `exception ${one.name}`),
  )

const twoSets = (texts: readonly string[]) => {
  const organisation = organisationOf(texts)
  // Most edits change a little; some change everything.
  return organisation.chain((before) =>
    fc.tuple(
      fc.constant(before),
      fc.oneof(
        organisation,
        organisation.chain((other) =>
          fc.subarray(Object.keys(before), { minLength: 1, maxLength: 2 }).map((keys) => ({
            ...before,
            ...Object.fromEntries(Object.entries(other).filter(([key]) => keys.includes(key))),
          })),
        ),
      ),
    ),
  )
}
const questions = fc.array(question, { minLength: 12, maxLength: 12 })

test('ends exactly the grants that a fresh decision over the same facts would not give', async () => {
  const seen = { stands: 0, ended: 0, over: 0 }
  await fc.assert(
    fc.asyncProperty(twoSets(keptTexts), questions, laterMs, async ([one, other], asked, later) => {
      const [before, after] = [await setOf(one), await setOf(other)]
      for (const each of asked) {
        const held = give(before, each)
        if (held === undefined || mayHaveNeededException(after, held)) continue
        const nowMs = issuedAtMs + later
        const standing = judge(after, held, nowMs)
        const endMs = freshEndMs(after, held, each)
        if (endMs === undefined) seen.ended++
        else if (endMs <= nowMs) seen.over++
        else seen.stands++
        expect(standing.stands ? standing.endsAtMs : undefined, JSON.stringify(standing)).toBe(
          endMs !== undefined && endMs > nowMs ? endMs : undefined,
        )
      }
    }),
    { numRuns: 600 },
  )
  expect(Math.min(seen.stands, seen.ended, seen.over), JSON.stringify(seen)).toBeGreaterThan(50)
})

test('what turns on the token never ends a grant that some token would still be given', async () => {
  const seen = { ended: 0, spared: 0 }
  await fc.assert(
    fc.asyncProperty(twoSets(tokenTexts), questions, async ([one, other], asked) => {
      const [before, after] = [await setOf(one), await setOf(other)]
      for (const each of asked) {
        const held = give(before, each)
        if (held === undefined || mayHaveNeededException(after, held)) continue
        const variants: Question[] = [undefined, 1, 5].flatMap((level) =>
          ['192.0.2.1', '198.51.100.9'].map((ip) => ({ ...each, level, ip })),
        )
        const could = variants.some((variant) => freshEndMs(after, held, variant) !== undefined)
        const { stands } = judge(after, held, issuedAtMs)
        if (!stands) seen.ended++
        if (could) seen.spared++
        if (could) expect(stands).toBe(true)
      }
    }),
    { numRuns: 400 },
  )
  expect(Math.min(seen.ended, seen.spared), JSON.stringify(seen)).toBeGreaterThan(50)
})

test('under the policies that gave it a grant stands until it expires, at whatever moment it is looked at', async () => {
  await fc.assert(
    fc.asyncProperty(
      organisationOf([...keptTexts, ...tokenTexts]),
      questions,
      fc.double({ min: 0, max: 1, noNaN: true }),
      async (one, asked, share) => {
        const set = await setOf(one)
        for (const each of asked) {
          const held = give(set, each)
          if (held === undefined) continue
          const nowMs = issuedAtMs + Math.floor((held.expiresAtMs - issuedAtMs - 1) * share)
          const standing = judge(set, held, nowMs)
          expect(standing.stands ? standing.endsAtMs : 0, JSON.stringify(standing)).toBeGreaterThanOrEqual(
            held.expiresAtMs,
          )
        }
      },
    ),
    { numRuns: 300 },
  )
})

test('a guardrail that is added, or a purpose that is removed, never spares more', async () => {
  const all = [...keptTexts, ...tokenTexts]
  const { allow_static: _, ...narrowing } = { allow_static: undefined }
  await fc.assert(
    fc.asyncProperty(organisationOf(all), guardrailOf(all), questions, laterMs, async (one, more, asked, later) => {
      const wide = await setOf(one)
      const railed = await setOf(one, [{ ...more, allow_static: undefined, ...narrowing }])
      const fewer = one.purposes.length > 1 ? await setOf({ ...one, purposes: one.purposes.slice(0, -1) }) : railed
      for (const each of asked) {
        const held = give(wide, each)
        if (held === undefined) continue
        const before = judge(wide, held, issuedAtMs + later)
        for (const narrow of [railed, fewer]) {
          const after = judge(narrow, held, issuedAtMs + later)
          if (!after.stands) continue
          expect(before.stands).toBe(true)
          expect(after.endsAtMs).toBeLessThanOrEqual(before.stands ? before.endsAtMs : 0)
        }
      }
    }),
    { numRuns: 200 },
  )
})

test('a change that is said not to bear on a workload changes the verdict on none of its grants', async () => {
  const seen = { untouched: 0, touched: 0 }
  await fc.assert(
    fc.asyncProperty(
      twoSets([...keptTexts, ...tokenTexts]),
      questions,
      laterMs,
      fc.boolean(),
      async ([one, other], asked, later, again) => {
        const [before, after] = [await setOf(one), await setOf(again ? structuredClone(one) : other)]
        const touched = await bearing(before, after)
        if (touched === 'all' || touched.has('w')) {
          seen.touched++
          return
        }
        seen.untouched++
        for (const each of asked) {
          const held = give(before, each)
          if (held !== undefined) {
            expect(judge(after, held, issuedAtMs + later)).toEqual(judge(before, held, issuedAtMs + later))
          }
        }
      },
    ),
    { numRuns: 200 },
  )
  expect(Math.min(seen.untouched, seen.touched), JSON.stringify(seen)).toBeGreaterThan(20)
})
