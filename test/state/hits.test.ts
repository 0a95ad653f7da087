import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createHits } from '../../src/state/hits.ts'

// Nothing here waits, so a hand to move is all a clock needs.
function testClock(startMs: number): { now(): number; advance(ms: number): void } {
  let nowMs = startMs
  return {
    now: () => nowMs,
    advance(ms) {
      nowMs += ms
    },
  }
}

describe('sliding windows', () => {
  it('counts as a list of all hits would, whatever the gaps between them', () => {
    const gap = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 2_000 }))
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.array(fc.tuple(gap, fc.integer({ min: 1, max: 3 })), { maxLength: 300 }),
        (max, steps) => {
          const clock = testClock(1_000)
          const hits = createHits(clock)
          let model: number[] = []
          for (const [delay, hit] of steps) {
            const count = Math.min(hit, max)
            clock.advance(delay)
            model = model.filter((at) => at + 1_000 > clock.now())
            expect(hits.within('k')).toBe(model.length)
            const wait = hits.count('k', max, 1_000, count)
            if (model.length + count <= max) {
              expect(wait).toBe(0)
              for (let i = 0; i < count; i++) model.push(clock.now())
            } else {
              // Until then enough of them have left.
              const room = (at: number) => model.filter((hitAt) => hitAt + 1_000 > at).length + count <= max
              expect([room(clock.now() + wait), room(clock.now() + wait - 1)]).toEqual([true, false])
            }
          }
        },
      ),
    )
  })

  it('cuts off what has left a long window and still counts what is in it', () => {
    const clock = testClock(1_000)
    const hits = createHits(clock)
    for (let i = 0; i < 10_000; i++) {
      expect(hits.count('k', 1_000_000, 1_000)).toBe(0)
      clock.advance(1)
    }
    expect(hits.within('k')).toBe(999)
    clock.advance(999)
    expect(hits.within('k')).toBe(0)
  })

  it('keeps the length of each key to itself', () => {
    const clock = testClock(1_000)
    const hits = createHits(clock)
    hits.count('long', 1, 10_000)
    hits.count('short', 1, 100)
    clock.advance(500)
    expect(hits.count('short', 1, 100)).toBe(0)
    expect(hits.count('long', 1, 10_000)).toBe(9_500)
  })
})
