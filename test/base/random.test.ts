import { expect, it } from 'vitest'
import { publicRandom } from '../../src/base/random.ts'

it('gives each caller bytes of its own, over many fillings of the pool, that later callers do not change', () => {
  const draws = Array.from({ length: 5_000 }, (_, i) => publicRandom(12 + (i % 5)))
  const before = draws.map((bytes) => Buffer.from(bytes).toString('hex'))
  publicRandom(4096)
  expect(draws.map((bytes) => Buffer.from(bytes).toString('hex'))).toEqual(before)
  expect(new Set(before).size).toBe(draws.length)
  expect(draws.map(({ length }) => length)).toEqual(draws.map((_, i) => 12 + (i % 5)))
})
