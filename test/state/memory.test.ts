import fc from 'fast-check'
import { expect, test } from 'vitest'
import { timeHeap } from '../../src/state/heap.ts'
import { memoryState } from '../../src/state/memory.ts'
import { stateContract } from '../contract/state.contract.ts'
import { fakeClock } from '../support/clock.ts'

stateContract('memory', async () => {
  const clock = fakeClock()
  const state = memoryState(clock)
  return { state, clock, stop: () => state.close() }
})

test('the heap gives times back in order, whatever order they came in', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1000)), (times) => {
      const heap = timeHeap()
      times.forEach((at, i) => {
        heap.push(at, `id${i}`)
      })
      const out = times.map(() => heap.pop()?.atMs)
      expect(out).toEqual(times.toSorted((a, b) => a - b))
      expect(heap.pop()).toBeUndefined()
    }),
  )
})
