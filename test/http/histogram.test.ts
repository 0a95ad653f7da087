import fc from 'fast-check'
import { Histogram, Registry } from 'prom-client'
import { describe, expect, it } from 'vitest'
import { createHistogram } from '../../src/http/histogram.ts'

const buckets = [0.001, 0.01, 0.1, 1]
const named = { name: 'some_seconds', help: 'Some time', buckets }

describe('a histogram', () => {
  it("reads as the library's own, whatever was observed", async () => {
    const seconds = fc.oneof(fc.constantFrom(...buckets, 0), fc.double({ min: 0, max: 10, noNaN: true }))
    const observed = fc.array(fc.tuple(fc.constantFrom('mint', 'verify', 'a "quoted" one'), seconds))
    await fc.assert(
      fc.asyncProperty(observed, async (observations) => {
        const ours = new Registry()
        const theirs = new Registry()
        const histogram = createHistogram(ours, { ...named, label: 'stage' })
        const library = new Histogram({ ...named, labelNames: ['stage'], registers: [theirs] })
        for (const [value, time] of observations) {
          histogram.observe(value, time)
          library.labels(value).observe(time)
        }
        expect(await ours.metrics()).toBe(await theirs.metrics())
      }),
    )
  })
})
