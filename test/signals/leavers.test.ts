import fc from 'fast-check'
import { expect, test } from 'vitest'
import { findingsOf } from '../../src/signals/findings.ts'
import { orphanedWorkloads } from '../../src/signals/leavers.ts'
import { loadSet } from '../policy/organisation.ts'
import { base, edit } from './stage.ts'

const dayMs = 86_400_000
const gone = (members: Readonly<Record<string, number>>): ReadonlyMap<string, number> =>
  new Map(Object.entries(members).map(([name, atMs]) => [`cluster-eu/${name}`, atMs]))
const deadline = async (members: Readonly<Record<string, number>>, files = base) =>
  orphanedWorkloads(await loadSet(files), gone(members)).get('checkout')?.deadlineMs

test('grants stay while another member and the backup remain', async () => {
  expect(await deadline({})).toBeUndefined()
  expect(await deadline({ alice: 5 })).toBeUndefined()
  expect(await deadline({ stranger: 5 })).toBeUndefined()
  // Whoever leaves the backup alone leaves no owner; that team's own workloads are another matter.
  expect(await deadline({ carol: 5 })).toBeUndefined()
})

test('nobody left: the grace counts from the last departure', async () => {
  expect(await deadline({ alice: 5, bob: 9 })).toBe(9 + 7 * dayMs)
})

test('no backup: the grace counts from when both were so', async () => {
  expect(await deadline({ alice: 5, carol: 9 })).toBe(9 + 7 * dayMs)
  expect(await deadline({ alice: 9, carol: 5 })).toBe(9 + 7 * dayMs)
  expect(await deadline({ alice: 5, bob: 12, carol: 9 })).toBe(9 + 7 * dayMs)
  const retired = edit('teams.yaml', 'roles: [operator]', 'status: retired')
  expect(await deadline({ alice: 5 }, retired)).toBe(5 + 7 * dayMs)
})

test('a team chooses its grace, and a team that leaves as a whole is answered for by its backup', async () => {
  const patient = edit('teams.yaml', 'name: payments', 'name: payments\nleavers: { grace: 30d }')
  expect(await deadline({ alice: 5, bob: 9 }, patient)).toBe(9 + 30 * dayMs)
  const leaving = edit('teams.yaml', 'name: payments', 'name: payments\nstatus: leaving')
  expect(await deadline({ alice: 5, bob: 9 }, leaving)).toBeUndefined()
  expect(await deadline({ alice: 5, bob: 9, carol: 7 }, leaving)).toBe(7 + 7 * dayMs)
})

test('editing the team resolves it', async () => {
  const edited = edit('teams.yaml', 'subject: bob', 'subject: erin')
  expect(await deadline({ alice: 5, bob: 9 }, edited)).toBeUndefined()
  const findings = findingsOf(await loadSet(edited), gone({ alice: 5, bob: 9 }), new Map())
  expect([...findings.keys()]).toEqual(['member-left-payments/cluster-eu/alice'])
})

test('the longer somebody is away the sooner it is over, and who stays never makes it worse', async () => {
  const set = await loadSet()
  const people = ['alice', 'bob', 'carol']
  const times = fc.record(Object.fromEntries(people.map((name) => [name, fc.option(fc.nat(100), { nil: undefined })])))
  const given = (members: Readonly<Record<string, number | undefined>>) =>
    orphanedWorkloads(
      set,
      new Map(Object.entries(members).flatMap(([name, at]) => (at === undefined ? [] : [[`cluster-eu/${name}`, at]]))),
    ).get('checkout')
  fc.assert(
    fc.property(times, fc.constantFrom(...people), (members, back) => {
      const [before, after] = [given(members), given({ ...members, [back]: undefined })]
      expect(given(members)).toEqual(before)
      if (after !== undefined) expect(before?.deadlineMs ?? Infinity).toBeLessThanOrEqual(after.deadlineMs)
    }),
  )
})
