import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTally } from '../../src/base/tally.ts'

test('a quantile is at most 1 % above the value that stands there, never below it, and never above the greatest', () => {
  const values = fc.array(fc.integer({ min: 0, max: 1_000_000_000 }), { minLength: 1, maxLength: 200 })
  fc.assert(
    fc.property(values, fc.constantFrom(0.5, 0.95, 0.99, 1), (all, share) => {
      const tally = createTally()
      for (const value of all) tally.add(value)
      const exact = all.toSorted((a, b) => a - b)[Math.ceil(share * all.length) - 1] ?? 0
      expect(tally.quantile(share)).toBeGreaterThanOrEqual(exact)
      expect(tally.quantile(share)).toBeLessThanOrEqual(Math.min(exact * 1.01, Math.max(...all)))
      expect([tally.count, tally.max]).toEqual([all.length, Math.max(...all)])
    }),
  )
})

test('nothing counted has no quantile, and any number of values takes bounded memory', () => {
  const tally = createTally()
  expect(tally.quantile(0.5)).toBe(0)
  for (let i = 0; i < 300_000; i++) tally.add(i * 37)
  expect(tally.quantile(0.5)).toBeGreaterThanOrEqual(150_000 * 37 - 37)
})
