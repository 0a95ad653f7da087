import canonicalize from 'canonicalize'
import { describe, expect, it } from 'vitest'
import { bounded } from '../../src/base/bounded.ts'
import { type EntryBody, entrySchema } from '../../src/ledger/entry.ts'
import { endedEntry, intentEntry, issuedEntry, loadedEntry, numberedEntry, renewedEntry } from '../support/entries.ts'

const samples = [loadedEntry, intentEntry(1), issuedEntry(1), renewedEntry(1), endedEntry(1), numberedEntry(1)]
const whole = (body: EntryBody): object => ({ ...body, v: 1, time: '2026-11-22T12:00:00.000Z' })

/** The value with `field` added to the object at each place in it, one at a time. */
function* withField(value: unknown, field: string): Generator<unknown> {
  if (typeof value !== 'object' || value === null) return
  if (!Array.isArray(value)) yield { ...value, [field]: 'hvs.CANARY' }
  for (const [key, inner] of Object.entries(value)) {
    for (const changed of withField(inner, field)) {
      yield Array.isArray(value) ? value.with(Number(key), changed) : { ...value, [key]: changed }
    }
  }
}

describe('the schema of entries', () => {
  it.each(samples)('takes $kind as it is', (body) => {
    expect(entrySchema.safeParse(whole(body)).success).toBe(true)
  })

  it.each(['secret', 'password', 'token_text', 'lease_id', 'private_key', 'username', 'claims', '__proto__x'])(
    'has no place, at any depth, for a field named %s',
    (field) => {
      let places = 0
      for (const body of samples) {
        for (const changed of withField(whole(body), field)) {
          places++
          expect(entrySchema.safeParse(changed).success).toBe(false)
        }
      }
      expect(places).toBeGreaterThan(samples.length * 2)
    },
  )

  it.each(samples)('gives $kind its fields in the order in which they are written down', (body) => {
    const entry = entrySchema.parse(whole(body))
    expect(JSON.stringify(entry)).toBe(canonicalize(entry))
  })

  it('takes no text beyond its bounds and no token in the place of its fingerprint', () => {
    const token = `${'e'.repeat(40)}.${'y'.repeat(200)}.${'s'.repeat(86)}`
    expect(entrySchema.safeParse(whole({ ...intentEntry(1), token })).success).toBe(false)
    expect(entrySchema.safeParse(whole({ ...intentEntry(1), purpose: 'x'.repeat(201) })).success).toBe(false)
  })

  it('bounds outside text to what an entry takes, whatever it is', () => {
    for (const text of ['a'.repeat(600), '\ud83d\ude00'.repeat(400), '\ud800', `${'a'.repeat(510)}\ud83d\ude00`]) {
      const cut = bounded(text)
      expect(cut.length).toBeLessThanOrEqual(512)
      expect(cut.isWellFormed()).toBe(true)
    }
    expect(bounded('short')).toBe('short')
  })
})
