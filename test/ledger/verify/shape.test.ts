import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { entrySchema } from '../../../src/ledger/entry.ts'
import { entryJsonSchema } from '../../../src/ledger/verify/entry-json-schema.ts'
import { compileShape } from '../../../src/ledger/verify/shape.ts'
import { anyEntry, fullEntries } from '../../support/entry-samples.ts'

const shape = compileShape(JSON.parse(JSON.stringify(entryJsonSchema())))
const agree = (value: unknown): void => {
  expect(shape(value) === undefined, JSON.stringify(value)).toBe(entrySchema.safeParse(value).success)
}

/** Every place in a value, as the way to it. */
function* places(value: unknown, way: readonly string[] = []): Generator<readonly string[]> {
  yield way
  if (typeof value !== 'object' || value === null) return
  for (const [name, inner] of Object.entries(value)) yield* places(inner, [...way, name])
}

/** The value with something else at a place, or without it. */
function changed(value: unknown, [name, ...rest]: readonly string[], to: unknown): unknown {
  if (name === undefined) return to
  const copy: Record<string, unknown> = Object.assign(Array.isArray(value) ? [] : {}, value)
  if (rest.length === 0 && to === undefined) delete copy[name]
  else copy[name] = changed(copy[name], rest, to)
  return copy
}

const strange = [
  undefined,
  null,
  0,
  -1,
  1.5,
  1e300,
  '',
  'x'.repeat(5000),
  '\ud800',
  true,
  [],
  {},
  [[]],
  { type: 'broker' },
]

describe('the compiled shape of entries', () => {
  it('takes every entry that the schema takes', () => {
    for (const entry of fullEntries()) agree(entry)
    fc.assert(fc.property(anyEntry, agree))
  })

  it('agrees with the schema about every full entry in which any one thing is changed, added or missing', () => {
    for (const entry of fullEntries()) {
      for (const place of places(entry)) {
        for (const other of strange) agree(changed(entry, place, other))
        agree(changed(entry, [...place, 'secret'], 'x'))
      }
    }
  })

  it('agrees with the schema about arbitrary JSON, and entries with arbitrary JSON in them', () => {
    fc.assert(fc.property(fc.jsonValue(), agree))
    fc.assert(
      fc.property(anyEntry, fc.nat(), fc.jsonValue(), (entry, at, value) => {
        const all = [...places(entry)]
        agree(changed(entry, all[at % all.length] ?? [], value))
      }),
    )
    agree(JSON.parse('{"__proto__":1}'))
    agree(JSON.parse(JSON.stringify(fullEntries()[0]).replace('{', '{"__proto__":{},')))
  })

  it('says where the fault is, and never quotes what somebody wrote', () => {
    const [entry] = fullEntries()
    expect(shape({ ...entry, actor: { type: 'nobody' } })).toBe('actor.type')
    expect(shape({ ...entry, time: 'yesterday' })).toBe('time')
    expect(shape({ ...entry, 'hvs.CANARY': 1 })).toBe('')
  })

  it.each([
    { type: 'object', properties: {} },
    { type: 'string', minLength: 1 },
    { type: 'null' },
    { oneOf: [{ type: 'string' }, { type: 'boolean' }] },
    { $ref: '#/$defs/x' },
  ])('refuses to guess what %j means', (schema) => expect(() => compileShape(schema)).toThrow('not understood'))
})
