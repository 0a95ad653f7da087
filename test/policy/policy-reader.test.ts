import { expect, test } from 'vitest'
import { createPolicyReader } from '../../src/policy/policy-reader.ts'
import { base } from './organisation.ts'

const workload = base['workload.yaml'] ?? ''
const another = workload.replace('name: checkout', 'name: another')
const wanted = [{ at: 0, path: ['purposes', 0, 'when'], offset: 3 }] as const

test('a text that was read in the last load is not read again', async () => {
  const reader = createPolicyReader()
  const [first] = await reader.parse([workload])
  const [place] = await reader.places([{ text: workload, requests: wanted }])
  reader.endLoad()
  const [, second] = await reader.parse([another, workload])
  const [placeAgain] = await reader.places([{ text: workload, requests: wanted }])
  expect(first?.documents[0]?.document.name).toBe('checkout')
  expect(second).toBe(first)
  expect(place).toHaveLength(1)
  expect(placeAgain).toBe(place)
})

test('a text that changed in one character is read anew', async () => {
  const reader = createPolicyReader()
  await reader.parse([workload])
  reader.endLoad()
  const [changed] = await reader.parse([workload.replace('name: checkout', 'name: checkouu')])
  expect(changed?.documents[0]?.document.name).toBe('checkouu')
})

test('what a load does not ask for is forgotten with it', async () => {
  const reader = createPolicyReader()
  const [first] = await reader.parse([workload])
  reader.endLoad()
  await reader.parse([another])
  reader.endLoad()
  const [again] = await reader.parse([workload])
  expect(again).toEqual(first)
  expect(again).not.toBe(first)
})

test('answers stand in the order of the texts, whether little or much is read, and some of it known', async () => {
  const reader = createPolicyReader()
  const texts = Array.from({ length: 400 }, (_, i) => workload.replace('name: checkout', `name: w-${i}`))
  const names = async (asked: readonly string[]): Promise<readonly (string | undefined)[]> =>
    (await reader.parse(asked)).map(({ documents }) => documents[0]?.document.name)
  expect(await names(texts.slice(100, 110))).toEqual(Array.from({ length: 10 }, (_, i) => `w-${100 + i}`))
  reader.endLoad()
  // Beyond what is read in this thread.
  expect(texts.join('').length).toBeGreaterThan(200_000)
  expect(await names(texts.toReversed())).toEqual(Array.from({ length: 400 }, (_, i) => `w-${399 - i}`))
})
