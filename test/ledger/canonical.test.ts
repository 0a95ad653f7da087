import canonicalize from 'canonicalize'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalJson, isCanonical } from '../../src/ledger/canonical.ts'
import vectors from '../vectors/json-rfc8785.json' with { type: 'json' }

const numberOf = (bits: string): number => Buffer.from(bits, 'hex').readDoubleBE()

/** What a text parses to and the canonical form of that, where it has one; `undefined` when the text is not JSON. */
function reparsed(text: string): { value: unknown; canonical: string | undefined } | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  try {
    return { value, canonical: canonicalJson(value) }
  } catch {
    return { value, canonical: undefined }
  }
}

describe('canonical JSON (RFC 8785)', () => {
  it.each(vectors.numbers)('writes the number $bits as $text', ({ bits, text }) => {
    expect(canonicalJson(numberOf(bits))).toBe(text)
  })

  it.each(vectors.noNumbers)('refuses %s, which is no JSON number', (bits) => {
    expect(() => canonicalJson({ n: numberOf(bits) })).toThrow()
  })

  it.each(vectors.documents)('writes $name byte for byte', ({ input, outputHex }) => {
    expect(Buffer.from(canonicalJson(JSON.parse(input))).toString('hex')).toBe(outputHex)
  })

  it.each([undefined, { a: '\ud800' }, { '\udc00': 1 }, ['\ud800\ud800'], { a: 1n }])(
    'refuses what has no canonical form (case %#)',
    (value) => {
      expect(() => canonicalJson(value)).toThrow()
    },
  )

  it('equals what the library makes of any value, whatever its keys', () => {
    const key = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 3 }),
      fc.constantFrom('__proto__', '10', '9', 'a\0b', 'toJSON'),
    )
    const value = fc.object({ key, maxDepth: 3, values: [fc.string({ unit: 'binary' }), fc.double(), fc.boolean()] })
    const outcome = (write: (value: unknown) => unknown, of: unknown): unknown => {
      try {
        return write(of)
      } catch {
        return 'refused'
      }
    }
    fc.assert(
      fc.property(value, (any) => {
        expect(outcome(canonicalJson, any)).toBe(outcome(canonicalize, any))
      }),
      { numRuns: 1000 },
    )
  })

  it('leaves out undefined fields, as if they were absent', () => {
    expect(canonicalJson({ b: undefined, a: 1 })).toBe('{"a":1}')
  })

  it.each([
    '{ "a":1}',
    '{"b":1,"a":2}',
    '{"a":1,"a":1}',
    '{"a":1.0}',
    '{"a":"\\u0041"}',
    '{"a":"\\/"}',
    '{"a":{"d":1,"c":2}}',
    '[{"b":1,"a":2}]',
    '{"a":-0}',
    '{"a":"\\ud800"}',
    '{"10":1,"9":1,"1":1}',
    '1e2',
  ])('recognises %s as not canonical', (text) => {
    expect(isCanonical(text, JSON.parse(text))).toBe(false)
  })

  it('recognises its own output, and only that, for any value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), fc.nat(), (value, at) => {
        let text: string
        try {
          text = canonicalJson(value)
        } catch {
          // A lone surrogate: no text of it may pass either.
          const escaped = JSON.stringify(value)
          expect(isCanonical(escaped, JSON.parse(escaped))).toBe(false)
          return
        }
        expect(canonicalJson(JSON.parse(text))).toBe(text)
        expect(isCanonical(text, JSON.parse(text))).toBe(true)
        const spaced = `${text.slice(0, at % (text.length + 1))} ${text.slice(at % (text.length + 1))}`
        const verdict = reparsed(spaced)
        if (verdict !== undefined) expect(isCanonical(spaced, verdict.value)).toBe(verdict.canonical === spaced)
      }),
    )
  })
})
