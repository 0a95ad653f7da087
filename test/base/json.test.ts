import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseStrictJson } from '../../src/base/json.ts'

const roomy = { maxDepth: 64, maxMembers: 10_000 }

const problemOf = (text: string, bounds = roomy): string => {
  const parsed = parseStrictJson(text, bounds)
  return parsed.ok ? 'accepted' : parsed.refusal.problem
}

describe('parseStrictJson', () => {
  it('reads whatever JSON.stringify writes, compact or indented', () => {
    const plain = fc
      .jsonValue({ maxDepth: 6, noUnicodeString: false })
      .filter((value) => !JSON.stringify(value).includes('__proto__'))
    fc.assert(
      fc.property(plain, fc.constantFrom(0, 2, '\t'), (value, indent) => {
        const text = JSON.stringify(value, null, indent)
        const parsed = parseStrictJson(text, roomy)
        // Lone surrogates are the one thing JSON can say and this refuses.
        if (!parsed.ok) expect(parsed.refusal.problem).toBe('bad_text')
        else expect(parsed.value).toEqual(JSON.parse(text))
      }),
    )
  })

  it('accepts no text that JSON.parse refuses', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...'{}[],:"\\au0-.e1 \ntrue')), (pieces) => {
        const text = pieces.join('')
        const parsed = parseStrictJson(text, roomy)
        if (parsed.ok) expect(JSON.parse(text)).toEqual(parsed.value)
      }),
      { numRuns: 2000 },
    )
  })

  it.each([
    ['the same name twice', '{"a":1,"a":2}', 'duplicate_key'],
    ['the same name once it is unescaped', '{"a":1,"\\u0061":2}', 'duplicate_key'],
    ['the same name behind a harmless escape', '{"\\/":1,"/":2}', 'duplicate_key'],
    ['the same name deep inside', '[{"x":{"k":[],"k":1}}]', 'duplicate_key'],
    ['the same empty name', '{"":1,"":2}', 'duplicate_key'],
    ['the same name after a value that holds quotes', '{"a":"\\"","a":2}', 'duplicate_key'],
    ['__proto__', '{"__proto__":{}}', 'forbidden_key'],
    ['__proto__ written with an escape', '{"\\u005f_proto__":{}}', 'forbidden_key'],
    ['an escaped lone surrogate', '["\\ud800"]', 'bad_text'],
    ['a raw lone surrogate', '["\ud800"]', 'bad_text'],
    ['a number beyond a double', '[1e999]', 'bad_number'],
    ['a negative number beyond a double', '{"exp":-1e999}', 'bad_number'],
    ['nothing', '', 'syntax'],
    ['text after the value', '{} x', 'syntax'],
    ['two values', '{}{}', 'syntax'],
    ['a trailing comma', '[1,]', 'syntax'],
    ['a byte order mark', '\ufeff{}', 'syntax'],
    ['a comment', '{/*a*/}', 'syntax'],
    ['single quotes', "{'a':1}", 'syntax'],
    ['NaN', 'NaN', 'syntax'],
    ['a raw control character in a string', '"\n"', 'syntax'],
    ['an unterminated string', '{"a', 'syntax'],
    ['a bad escape', '["\\x41"]', 'syntax'],
    ['a closing bracket too many', '[]]', 'syntax'],
    ['brackets that do not match', '[}', 'syntax'],
  ])('refuses %s', (_, text, problem) => {
    expect(problemOf(text)).toBe(problem)
  })

  it.each([
    ['equal names in sibling objects', '[{"a":1},{"a":2}]'],
    ['a value equal to its name', '{"a":"a","b":"a"}'],
    ['__proto__ as a value', '{"a":"__proto__"}'],
    ['a bare scalar', '"a"'],
    ['spaces of every kind', ' \t\r\n{ "a" : [ 1 , 2 ] } '],
    ['a surrogate pair in escapes', '["\\ud83d\\ude00"]'],
    ['NUL and direction marks in a value', '{"a":"\\u0000\u202e"}'],
  ])('accepts %s', (_, text) => {
    expect(problemOf(text)).toBe('accepted')
  })

  it('counts depth exactly', () => {
    expect(problemOf('[[[1]]]', { maxDepth: 3, maxMembers: 10 })).toBe('accepted')
    expect(problemOf('[[[[]]]]', { maxDepth: 3, maxMembers: 10 })).toBe('too_deep')
    expect(problemOf('{"a":{"b":1}}', { maxDepth: 1, maxMembers: 10 })).toBe('too_deep')
    expect(problemOf('1', { maxDepth: 0, maxMembers: 0 })).toBe('accepted')
  })

  it('counts members and elements together and exactly', () => {
    const bounds = { maxDepth: 4, maxMembers: 4 }
    expect(problemOf('{"a":[1,2,3]}', bounds)).toBe('accepted')
    expect(problemOf('{"a":[1,2,3,4]}', bounds)).toBe('too_many')
    expect(problemOf('{"a":1,"b":2,"c":3,"d":4}', bounds)).toBe('accepted')
    expect(problemOf('[{"a":1},{"b":2}]', bounds)).toBe('accepted')
    expect(problemOf('[{"a":1},{"b":2},0]', bounds)).toBe('too_many')
  })

  it('stops at the bound instead of reading on', () => {
    const parsed = parseStrictJson(`${'['.repeat(9)}${'!'.repeat(100)}`, { maxDepth: 8, maxMembers: 100 })
    expect(parsed).toMatchObject({ ok: false, refusal: { problem: 'too_deep', at: 8 } })
  })

  it('survives nesting that would overflow a recursive reader', () => {
    expect(problemOf('['.repeat(1_000_000))).toBe('too_deep')
    expect(problemOf('{"a":'.repeat(200_000))).toBe('too_deep')
  })

  it('says nothing of the text in its refusal', () => {
    for (const text of ['{"s3cret":1,"s3cret":2}', '{"s3cret"', 's3cret', '["s3cret\\ud800"]']) {
      const parsed = parseStrictJson(text, roomy)
      expect(parsed.ok).toBe(false)
      expect(JSON.stringify(parsed)).not.toContain('s3cret')
    }
  })
})
