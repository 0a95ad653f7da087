import { describe, expect, test } from 'vitest'
import type { Claims } from '../../src/identity/identity.ts'
import {
  CelCredential,
  CelIssuer,
  CelPurpose,
  CelRequest,
  CelWorkload,
  type ConditionContext,
  compileCondition,
} from '../../src/policy/condition.ts'

const context = (claims: Claims): ConditionContext => ({
  claims,
  issuer: new CelIssuer(),
  workload: new CelWorkload(),
  purpose: new CelPurpose(),
  credential: new CelCredential(),
  request: new CelRequest(),
  now: new Date(0),
})

const evaluate = (text: string, claims: Claims = {}): boolean | string => {
  const compiled = compileCondition(text)
  if (!compiled.ok) return `refused: ${compiled.problem.message}`
  const verdict = compiled.condition.evaluate(context(claims))
  return 'undecided' in verdict ? 'undecided' : verdict.value
}

describe('what claims are missing or odd never throws and never allows', () => {
  test.each([
    ['claims.ref == "main"', {}, 'undecided'],
    ['claims.ref == "main"', { ref: 'main' }, true],
    ['claims.ref == "main"', { ref: null }, false],
    ['claims.ref.startsWith("m")', { ref: 7 }, 'undecided'],
    ['claims.toString == "x"', {}, 'undecided'],
    ['has(claims.constructor)', {}, false],
    ['"__proto__" in claims', {}, false],
    ['claims["kubernetes.io"].namespace == "orders"', { 'kubernetes.io': { namespace: 'orders' } }, true],
    ['claims.groups.exists(g, g == "b")', { groups: ['a', 'b'] }, true],
    ['claims.level > 3', { level: 4 }, true],
    ['claims.level > 3', { level: '4' }, 'undecided'],
    ['claims.admin', { admin: true }, 'refused: gives dyn, not bool'],
    ['claims.ref == "main" || request.reason == ""', {}, true],
    ['claims.ref == "main" && request.reason != ""', {}, false],
  ] as [string, Claims, boolean | string][])('%s with %j is %s', (text, claims, expected) => {
    expect(evaluate(text, claims)).toBe(expected)
  })
})

describe('what could cost without bound is refused when it is loaded', () => {
  test.each([
    ['claims.sub.matches("(a+)+$")', 'regular expressions are not allowed'],
    ['claims.a.exists(x, claims.b.exists(y, x == y))', 'one loop inside another'],
    ['claims.a.exists(x, x in claims.b && x in claims.c)', 'may take'],
    ['claims.sub.split("").size() > 1', 'the function `split` is not available'],
    ['cel.bind(x, claims.sub + claims.sub, x + x == "")', 'the function `bind` is not available'],
    [`${'['.repeat(40)}1${']'.repeat(40)} == claims.a`, ''],
    [Array.from({ length: 300 }, () => 'true').join(' && '), ''],
    [`"${'x'.repeat(4096)}" == ""`, 'longer than 4096 characters'],
  ])('%s', (text, message) => {
    const compiled = compileCondition(text)
    expect(compiled.ok).toBe(false)
    if (!compiled.ok) expect(compiled.problem.message).toContain(message)
  })
  test('one loop over a claim, and one after another, are fine', () => {
    expect(evaluate('claims.a.filter(x, x != "a").exists(x, x == "b")', { a: ['a', 'b'] })).toBe(true)
  })
})

test('a condition falls apart into what it joins with &&, and shows what each part saw', () => {
  const compiled = compileCondition('claims.ref == "main" && (request.reason != "" || claims.level > 3)')
  if (!compiled.ok) throw new Error(compiled.problem.message)
  const parts = compiled.condition.parts()
  expect(parts.map(({ text }) => text)).toEqual(['claims.ref == "main"', 'request.reason != "" || claims.level > 3'])
  expect(parts.flatMap((part) => part.operands(context({ ref: 'dev' })))).toEqual([
    { text: 'claims.ref', value: '"dev"' },
    { text: 'request.reason', value: '""' },
    { text: 'claims.level', value: 'No such key: level' },
  ])
})
