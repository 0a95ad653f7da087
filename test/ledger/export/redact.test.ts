import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isId } from '../../../src/base/ids.ts'
import { type Entry, type EntryBody, entrySchema } from '../../../src/ledger/entry.ts'
import { createRedactor, namesKeyId, treatmentOf, treatments } from '../../../src/ledger/export/redact.ts'
import { factOf } from '../../../src/ledger/verify/fact.ts'
import { createMeaning } from '../../../src/ledger/verify/meaning.ts'
import { endedEntry, intentEntry, issuedEntry, loadedEntry, renewedEntry } from '../../support/entries.ts'
import { anyEntry, entryFields, fullEntries, isFreeText } from '../../support/entry-samples.ts'

const key = Buffer.alloc(32, 7)
const redact = createRedactor(key)

/** Each value that is not a list or an object, by the path the rules know it by. */
function* leavesOf(value: unknown, path = ''): Generator<[path: string, value: unknown]> {
  if (Array.isArray(value)) for (const item of value) yield* leavesOf(item, `${path}[]`)
  else if (typeof value === 'object' && value !== null) {
    for (const [name, inner] of Object.entries(value)) yield* leavesOf(inner, path === '' ? name : `${path}.${name}`)
  } else yield [path, value]
}

/** Texts that are kept although the schema allows any: the public keys of the log and what one says of the other. */
const publicTexts: readonly string[] = ['new_key', 'statement']

const whole = (body: EntryBody): Entry => entrySchema.parse({ ...body, v: 1, time: '2026-11-22T12:00:00.000Z' })

describe('the rules of redaction', () => {
  it('say of every field of every kind what becomes of it', () => {
    const unlisted = [...entryFields()].filter(({ kind, path }) => treatmentOf(kind, path) === undefined)
    expect(unlisted.map(({ kind, path }) => `${kind} ${path}`)).toEqual([])
  })

  it('list no field that there is not', () => {
    const fields = new Set([...entryFields()].flatMap(({ kind, path }) => [path, `${kind} ${path}`]))
    expect(Object.keys(treatments).filter((path) => !fields.has(path))).toEqual([])
  })

  it('keep no text but what the broker makes of public keys, and hash of the rest only traces and what is made of names', () => {
    const kept = (free: boolean) =>
      [...entryFields()].filter(
        ({ kind, path, node }) => isFreeText(node) === free && (treatmentOf(kind, path) === 'kept') === free,
      )
    expect(kept(true).map(({ path }) => path)).toEqual(publicTexts)
    expect([...new Set(kept(false).map(({ path }) => path))]).toEqual([
      'jkt',
      'trace',
      'idempotency_key',
      'idempotency_request',
      'params',
      'digest',
    ])
  })
})

describe('a redacted entry', () => {
  it('satisfies the schema, keeps what is kept, and holds no text of the original', () => {
    fc.assert(
      fc.property(anyEntry, (entry) => {
        const redacted = entrySchema.parse(redact(entry))
        const after = [...leavesOf(redacted)]
        const before = [...leavesOf(entry)]
        expect(after.map(([path]) => path)).toEqual(before.map(([path]) => path))
        before.forEach(([path, value], i) => {
          if (treatmentOf(entry.kind, path) === 'kept') expect(after[i]?.[1]).toBe(value)
          else expect(after[i]?.[1]).not.toBe(value)
        })
      }),
      { numRuns: 500 },
    )
  })

  it('holds nothing of the texts even in part', () => {
    const withoutPublic = (name: string, value: unknown): unknown => (publicTexts.includes(name) ? undefined : value)
    for (const entry of fullEntries()) {
      expect(JSON.stringify(redact(entry), withoutPublic)).not.toMatch(/sample \d/)
    }
  })

  it('has the same hash for the same name wherever it stands, another for another class, and another under another key', () => {
    const intent = entrySchema.parse(redact(whole(intentEntry(1))))
    const issued = entrySchema.parse(redact(whole(issuedEntry(1))))
    if (intent.kind !== 'grant.intent' || intent.actor.type !== 'workload') throw new Error('not the intent')
    expect(intent.workload).toBe(intent.actor.name)
    expect(issued).toMatchObject({ grant: intent.grant, workload: intent.workload, credential: intent.credential })
    // `orders-ro` is a credential and a role.
    expect(intent.role).not.toBe(intent.credential)
    expect(createRedactor(Buffer.alloc(32, 8))(whole(issuedEntry(1)))).not.toMatchObject({ grant: issued.grant })
    expect(createRedactor(key)(whole(issuedEntry(1)))).toEqual(issued)
  })

  it('is what the documentation says: HMAC-SHA-256 over version, class and text, 26 characters of five bits', () => {
    const mac = createHmac('sha256', key).update('writ.dev/ledger-redaction@v1\nworkload\ncheckout').digest()
    const bits = [...mac].map((byte) => byte.toString(2).padStart(8, '0')).join('')
    const digits = (bits.match(/.{5}/g) ?? []).slice(0, 26).map((five) => Number.parseInt(five, 2))
    const hashed = digits.map((digit) => '0123456789abcdefghjkmnpqrstvwxyz'[digit]).join('')
    expect(redact(whole(intentEntry(1)))).toMatchObject({ workload: `workload-${hashed}` })
  })

  it('has identifiers, traces and digests of the right shape', () => {
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
    const redacted = entrySchema.parse(redact(whole({ ...intentEntry(1), task: 'x', approval: 'y', trace })))
    expect(isId('gr', redacted.grant ?? '')).toBe(true)
    expect(isId('tsk', redacted.task ?? '')).toBe(true)
    expect(isId('ap', redacted.approval ?? '')).toBe(true)
    expect(isId('rq', redacted.request ?? '')).toBe(true)
    expect(redacted.trace).not.toBe(trace)
  })

  it('tells the same story', () => {
    const story = [loadedEntry, intentEntry(1), issuedEntry(1), renewedEntry(1), endedEntry(1)].map(whole)
    const meaning = createMeaning()
    expect(story.flatMap((entry) => meaning.next(factOf(entrySchema.parse(redact(entry)))))).toEqual([])
    const again = createMeaning()
    const broken = [0, 2, 4].map((i) => story[i] ?? whole(loadedEntry))
    expect(broken.flatMap((entry) => again.next(factOf(entrySchema.parse(redact(entry)))))).toHaveLength(2)
  })

  it('is not made of a field that no rule knows', () => {
    const odd = { ...whole(loadedEntry), secret: 'x' }
    expect(() => redact(odd)).toThrow('nothing says how to redact secret')
  })
})

describe('the id of a names key', () => {
  it('is a hash that is no hash of anything in a copy', () => {
    expect(namesKeyId(key)).toMatch(/^[0-9a-f]{64}$/)
    expect(namesKeyId(key)).not.toBe(namesKeyId(Buffer.alloc(32, 8)))
  })
})
