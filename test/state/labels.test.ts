import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createLabels, type LabelSet, noLabels } from '../../src/state/labels.ts'

const ids = ['a', 'b', 'c', 'd'] as const
const names = ['live', 'ended', 'w=1', 'w=2', 'lease=x'] as const

describe('labels', () => {
  it('find and count what a plain table of records would, after any order of moves and drops', () => {
    const step = fc.record({
      id: fc.constantFrom(...ids),
      labels: fc.option(fc.subarray([...names]), { nil: undefined }),
      order: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.subarray([...names], { minLength: 1 }), (steps, asked) => {
        const labels = createLabels()
        const held = new Map<string, LabelSet>()
        const model = new Map<string, readonly string[]>()
        for (const { id, labels: next, order } of steps) {
          if (next === undefined) {
            labels.drop(id, held.get(id) ?? noLabels)
            held.delete(id)
            model.delete(id)
          } else {
            const listed = order ? next : next.toReversed()
            held.set(id, labels.move(id, held.get(id) ?? noLabels, listed))
            model.set(id, listed)
          }
          const carrying = (wanted: readonly string[]): string[] =>
            ids.filter((each) => wanted.every((name) => model.get(each)?.includes(name) ?? false))
          expect([...labels.having(asked)].sort()).toEqual(carrying(asked))
          for (const name of names) expect(labels.count(name)).toBe(carrying([name]).length)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('share one text among all records that carry a label', () => {
    const labels = createLabels()
    const made = (): string => ['workload', 'checkout'].join('=')
    const first = labels.move('a', noLabels, [made()])
    const second = labels.move('b', noLabels, [made()])
    expect(first[0]).toBe(second[0])
  })
})
