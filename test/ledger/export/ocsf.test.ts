import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { codes } from '../../../src/base/codes.ts'
import { canonicalJson } from '../../../src/ledger/canonical.ts'
import { type Entry, entrySchema } from '../../../src/ledger/entry.ts'
import { readRow } from '../../../src/ledger/export/entry-row.ts'
import { ocsfFormat } from '../../../src/ledger/export/ocsf.ts'
import { leafHash } from '../../../src/ledger/log/merkle.ts'
import { endedEntry, intentEntry, issuedEntry } from '../../support/entries.ts'
import { anyEntry, fullEntries } from '../../support/entry-samples.ts'
import schema from '../../vectors/ocsf-1.8.0.json' with { type: 'json' }

interface Attribute {
  readonly type: string
  readonly array?: boolean
  readonly required?: boolean
  readonly deprecated?: boolean
  readonly enum?: readonly number[]
}

interface Shape {
  readonly attributes: Readonly<Record<string, Attribute>>
  readonly constraints?: { readonly at_least_one?: readonly string[]; readonly just_one?: readonly string[] }
}

const classes: Readonly<Record<string, Shape>> = schema.classes
const objects: Readonly<Record<string, Shape>> = schema.objects

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** What is wrong with a value by OCSF's own schema. */
function* problemsOf(value: unknown, shape: Shape | undefined, path: string): Generator<string> {
  if (shape === undefined) return yield `${path}: a class or object that the fixture does not have`
  if (!isRecord(value)) return yield `${path}: not an object`
  const { attributes, constraints = {} } = shape
  for (const [name, { required }] of Object.entries(attributes)) {
    if (required && value[name] === undefined) yield `${path}.${name}: required and absent`
  }
  const present = (names: readonly string[] = []): number => names.filter((name) => value[name] !== undefined).length
  if (constraints.at_least_one && present(constraints.at_least_one) === 0)
    yield `${path}: none of ${constraints.at_least_one}`
  if (constraints.just_one && present(constraints.just_one) !== 1) yield `${path}: not one of ${constraints.just_one}`
  for (const [name, inner] of Object.entries(value)) {
    const attribute = attributes[name]
    const at = `${path}.${name}`
    if (attribute === undefined) yield `${at}: no such attribute`
    else if (attribute.deprecated) yield `${at}: deprecated`
    else if (attribute.array !== Array.isArray(inner) && attribute.array) yield `${at}: not a list`
    else for (const item of Array.isArray(inner) ? inner : [inner]) yield* problemsOfValue(item, attribute, at)
  }
}

function* problemsOfValue(value: unknown, { type, enum: values }: Attribute, path: string): Generator<string> {
  if (values !== undefined && !values.includes(Number(value))) yield `${path}: ${value} is not one of ${values}`
  if (type === 'string_t') {
    if (typeof value !== 'string') yield `${path}: not text`
  } else if (type === 'integer_t' || type === 'long_t') {
    if (!Number.isSafeInteger(value)) yield `${path}: not a whole number`
  } else if (type === 'boolean_t') {
    if (typeof value !== 'boolean') yield `${path}: not a boolean`
  } else yield* problemsOf(value, objects[type], path)
}

function eventOf(entry: Entry, index = 7): Record<string, unknown> {
  const bytes = Buffer.from(canonicalJson(entry))
  const line = ocsfFormat('writ.test/ledger').add(
    readRow({ index, leafHash: Buffer.from(leafHash(bytes)).toString('hex'), bytes }),
  )
  expect(String(line).endsWith('}\n')).toBe(true)
  return JSON.parse(String(line))
}

const problems = (event: Record<string, unknown>): string[] => [
  ...problemsOf(event, classes[String(event.class_uid)], `${event.class_uid}`),
]

const whole = (body: object): Entry => entrySchema.parse({ ...body, v: 1, time: '2026-11-22T12:00:00.000Z' })

describe('OCSF events', () => {
  it.each(fullEntries())('of $kind, with all its fields, follow the schema of OCSF 1.8.0', (entry) => {
    expect(problems(eventOf(entry))).toEqual([])
  })

  it('follow the schema of OCSF 1.8.0 whatever the entry says', () => {
    fc.assert(
      fc.property(anyEntry, (entry) => {
        expect(problems(eventOf(entry))).toEqual([])
      }),
      { numRuns: 1000 },
    )
  })

  it('are checked by a schema that would notice', () => {
    const event = eventOf(whole(intentEntry(1)))
    const { user, ...withoutUser } = event
    expect(user).toMatchObject({ name: 'checkout' })
    expect(problems(withoutUser)).toEqual(['3003.user: required and absent'])
    expect(problems({ ...event, activity_id: 5 })).toHaveLength(1)
    expect(problems({ ...event, secret: 'x' })).toEqual(['3003.secret: no such attribute'])
    expect(problems({ ...event, privileges: 'x' })).toEqual(['3003.privileges: not a list'])
    expect(problems({ ...event, group: { name: 'x' } })).toEqual(['3003: not one of privileges,group'])
    expect(problems({ ...event, metadata: { version: '1.8.0' } })).toEqual([
      '3003.metadata.product: required and absent',
    ])
  })

  it('number their class, category and type as one', () => {
    for (const entry of fullEntries()) {
      const { category_uid, class_uid, activity_id, type_uid } = eventOf(entry)
      expect(Math.floor(Number(class_uid) / 1000)).toBe(category_uid)
      expect(Number(class_uid) * 100 + Number(activity_id)).toBe(type_uid)
    }
  })

  it('lead back to the entry and to its proof', () => {
    const entry = whole(issuedEntry(1))
    const { metadata, raw_data, raw_data_hash } = eventOf(entry, 42)
    expect(metadata).toMatchObject({ uid: 'writ.test/ledger/42', log_name: 'writ.test/ledger', sequence: 42 })
    expect(JSON.parse(String(raw_data))).toEqual(entry)
    const leaf = Buffer.from(leafHash(Buffer.from(String(raw_data)))).toString('hex')
    expect(raw_data_hash).toMatchObject({ value: leaf })
  })

  it('tell who held what, and which identifiers the credential had', () => {
    expect(eventOf(whole(issuedEntry(1)))).toMatchObject({
      class_uid: 3005,
      activity_name: 'Assign Privileges',
      status: 'Success',
      user: { name: 'checkout', programmatic_credentials: [{ type: 'database_user', uid: 'v-checkout-1' }] },
      privileges: ['orders-ro'],
      resources: [{ name: 'orders-ro', owner: { name: 'payments' } }, { name: 'orders' }],
      metadata: { correlation_uid: 'gr_00000000000000000000000001' },
    })
    expect(eventOf(whole(endedEntry(1)))).toMatchObject({ class_uid: 3005, activity_id: 2, status: 'Success' })
  })

  const denied = (code: string, more: object = {}) =>
    eventOf(
      whole({
        kind: 'request.denied',
        actor: { type: 'unproved' },
        code,
        rules: [
          { rule: 'issuer', ok: true, detail: '' },
          { rule: 'signature', ok: false, detail: 'x' },
        ],
        ...more,
      }),
    )

  it('tell a token that was not believed from a purpose that was not opened and from a refused call', () => {
    for (const [code, { status }] of Object.entries(codes)) {
      const expected = status === 401 ? 3002 : 6003
      expect(denied(code), code).toMatchObject({ class_uid: expected, status: 'Failure', status_code: code })
    }
    expect(denied('guardrail_denied', { purpose: 'p' })).toMatchObject({ class_uid: 3003, privileges: ['p'] })
    expect(denied('token_invalid', { purpose: 'p', suppressed: 9 })).toMatchObject({
      class_uid: 3002,
      count: 10,
      status_detail: 'signature',
      severity_id: 2,
    })
  })
})
