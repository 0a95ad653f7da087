import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Carrier, createLabels, noLabels } from '../../src/state/labels.ts'

const ids = ['a', 'b', 'c', 'd'] as const
const names = ['live', 'ended', 'w=1', 'w=2', 'lease=x'] as const

const record = (id: string, sequence = 0): Carrier => ({ id, sequence, labels: noLabels, seen: 0 })

describe('labels', () => {
  it('find and count what a plain table of records would, after any order of moves', () => {
    const step = fc.record({ id: fc.constantFrom(...ids), labels: fc.subarray([...names]), order: fc.boolean() })
    // Long enough for lists to be cut again and again.
    const steps = fc.array(step, { minLength: 1, maxLength: 400, size: 'max' })
    fc.assert(
      fc.property(steps, fc.subarray([...names], { minLength: 1 }), (moves, asked) => {
        const labels = createLabels()
        const records = new Map(ids.map((id) => [id, record(id)]))
        const model = new Map<string, readonly string[]>()
        const carrying = (wanted: readonly string[]): string[] =>
          ids.filter((each) => wanted.every((name) => model.get(each)?.includes(name) ?? false))
        for (const { id, labels: next, order } of moves) {
          const listed = order ? next : next.toReversed()
          labels.move(records.get(id) ?? record(id), listed)
          model.set(id, listed)
          expect(
            labels
              .having(asked)
              .map((found) => found.id)
              .sort(),
          ).toEqual(carrying(asked))
          for (const name of names) expect(labels.count(name)).toBe(carrying([name]).length)
        }
      }),
      { numRuns: 200 },
    )
  })

  it('share one text among all records that carry a label', () => {
    const labels = createLabels()
    const made = (): string => ['workload', 'checkout'].join('=')
    const [first, second] = [record('a'), record('b')]
    labels.move(first, [made()])
    labels.move(second, [made()])
    expect(first.labels[0]).toBe(second.labels[0])
  })
})
