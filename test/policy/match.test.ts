import { describe, expect, test } from 'vitest'
import type { Claims } from '../../src/identity/identity.ts'
import { claimAt, claimRules, compileGlob, globProblem } from '../../src/policy/match.ts'

describe('a glob stays within its segment', () => {
  test.each([
    ['repo:acme/*:ref', 'repo:acme/shop:ref', true],
    ['repo:acme/*:ref', 'repo:acme/shop/x:ref', false],
    ['repo:acme/*:ref', 'repo:acme/shop:x:ref', false],
    ['repo:acme/*:ref', 'repo:acme/:ref', false],
    ['repo:acme/*', 'repo:acme/shop', true],
    ['repo:acme/*', 'repo:acme/shop:evil', false],
    ['repo:acme/*', 'xrepo:acme/shop', false],
    ['release-*', 'release-', false],
    ['release-*', 'release-1', true],
    ['a*a', 'a', false],
    ['a*a', 'aa', false],
    ['a*a', 'aba', true],
    ['*', '', false],
    ['*', '*', true],
    ['a:*', 'a/b', false],
    ['spiffe://td/ns/*/sa/x', 'spiffe://td/ns/a/sa/x', true],
    ['spiffe://td/ns/*/sa/x', 'spiffe://td/ns/a/b/sa/x', false],
    ['spiffe://td/ns/*/sa/x', 'spiffe://td/ns//sa/x', false],
    ['spiffe://td/ns/*/sa/x', 'spiffe://td/ns/a/sa/x/y', false],
    ['spiffe://td/ns/*/sa/x', 'spiffe://td.evil/ns/a/sa/x', false],
    ['spiffe://td/*', 'spiffe://td/a/b', false],
    ['a/*', 'a:b', false],
    ['a/*/c', 'a/b', false],
    ['a/*/c', 'a/b/c/', false],
    ['a.c*', 'abcd', false],
    ['système-*', 'système-ü', true],
  ])('%s and %s: %s', (pattern, text, expected) => {
    expect(compileGlob(pattern)(text)).toBe(expected)
  })
  test('what is not text never fits', () => {
    for (const value of [1, true, null, {}, ['a']]) expect(compileGlob('*')(value)).toBe(false)
  })
  test('two stars in a segment are refused; the comparison stays linear', () => {
    expect(globProblem('*a*')).toBe('two `*` in one segment')
    expect(globProblem('*/*')).toBeUndefined()
  })
})

describe('claims are exact', () => {
  const fits = (pattern: string | number | boolean, claims: Claims): boolean =>
    claimRules({ claim: pattern }).every(({ path, test }) => test(claimAt(claims, path)))
  test.each([
    ['a', { claim: 'a' }, true],
    ['a', { claim: 'A' }, false],
    ['a', { claim: 'a ' }, false],
    ['a', {}, false],
    ['a', { claim: ['b', 'a'] }, true],
    ['a', { claim: [['a']] }, false],
    ['a', { claim: [] }, false],
    ['1', { claim: 1 }, false],
    [1, { claim: '1' }, false],
    [1, { claim: 1 }, true],
    [true, { claim: 'true' }, false],
    [true, { claim: true }, true],
    ['a*', { claim: ['b', 'ab'] }, true],
  ] as [string | number | boolean, Claims, boolean][])('%j and %j: %s', (pattern, claims, expected) => {
    expect(fits(pattern, claims)).toBe(expected)
  })
})

test('a claim within a claim is reached by nesting or by a dotted name, and never through a prototype', () => {
  const claims: Claims = { 'kubernetes.io': { namespace: 'orders', pod: { name: 'p' } }, a: { b: 1 }, 'a.b': 2 }
  expect(claimAt(claims, ['kubernetes.io', 'namespace'])).toBe('orders')
  expect(claimAt(claims, ['kubernetes.io.pod.name'])).toBe('p')
  expect(claimAt(claims, ['a.b'])).toBe(2)
  expect(claimAt(claims, ['a', 'b'])).toBe(1)
  for (const path of [['constructor'], ['a', 'toString'], ['kubernetes.io.__proto__'], ['a', 'b', 'c'], ['']]) {
    expect(claimAt(claims, path)).toBeUndefined()
  }
})
