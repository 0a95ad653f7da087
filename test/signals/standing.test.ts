import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Entry } from '../../src/ledger/entry.ts'
import type { StoredEntry } from '../../src/ledger/ledger.ts'
import type { Effect } from '../../src/signals/event.ts'
import { createFollowedSignals } from '../../src/signals/followed.ts'
import { createStandings, moved, type Standing } from '../../src/signals/standing.ts'
import { memoryState } from '../../src/state/memory.ts'
import { fakeClock } from '../support/clock.ts'

const alice = { issuer: 'people', subject: 'alice' }
const effects: readonly Effect[] = ['recorded', 'ended', 'disabled', 'enabled', 'renamed']
const step = fc.record({ effect: fc.constantFrom(...effects), atMs: fc.integer({ min: 1, max: 20 }) })
const fold = (steps: readonly { effect: Effect; atMs: number }[]): Standing | undefined =>
  steps.reduce<Standing | undefined>((standing, { effect, atMs }) => moved(standing, alice, effect, atMs), undefined)

test('whether an account is disabled, and what was ended, does not turn on the order in which signals arrive', () => {
  const distinct = fc.uniqueArray(step, { selector: ({ atMs }) => atMs, maxLength: 8 })
  fc.assert(
    fc.property(
      distinct.chain((steps) => fc.tuple(fc.constant(steps), fc.shuffledSubarray(steps, { minLength: steps.length }))),
      ([inOrder, shuffled]) => {
        const sorted = inOrder.toSorted((a, b) => a.atMs - b.atMs)
        const last = sorted.findLast(({ effect }) => effect === 'disabled' || effect === 'enabled')
        const ended = sorted.findLast(({ effect }) => effect === 'disabled' || effect === 'ended')
        const standing = fold(shuffled)
        expect(standing?.disabledAtMs !== undefined).toBe(last?.effect === 'disabled')
        expect(standing?.endedBeforeMs ?? 0).toBe(ended?.atMs ?? 0)
        // Never before it was enabled for the last time, so that nobody's grace is cut short by an old signal.
        if (last?.effect === 'disabled') {
          const enabled = sorted.findLast(({ effect }) => effect === 'enabled')?.atMs ?? 0
          expect(standing?.disabledAtMs).toBeGreaterThan(enabled)
        }
      },
    ),
    { numRuns: 2000 },
  )
})

const storedOf = (index: number, effect: Effect, atMs: number): StoredEntry => ({
  index,
  leafHash: '',
  entry: {
    v: 1,
    kind: 'signal.received',
    time: new Date(atMs).toISOString(),
    actor: { type: 'broker', reason: 'signal' },
    source: 'hub',
    signal: 'session-revoked',
    matched: 1,
    issuer: alice.issuer,
    subject: alice.subject,
    effect,
    event_time: new Date(atMs).toISOString(),
  } satisfies Entry,
})

test('a restart that reads only the kept entries finds every subject as it was', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const followed = createFollowedSignals({ issuers: () => [], now: () => 0 })
      const entries = steps.map(({ effect, atMs }, index) => storedOf(index, effect, atMs))
      for (const entry of entries) followed.see(entry)
      const kept = followed.list().toSorted((a, b) => a - b)
      expect(kept.length).toBeLessThanOrEqual(4)
      const again = fold(kept.map((index) => steps[index] ?? { effect: 'recorded', atMs: 0 }))
      const whole = fold(steps.filter(({ effect }) => effect !== 'recorded' && effect !== 'renamed'))
      expect(again).toEqual(whole)
    }),
    { numRuns: 2000 },
  )
})

test('what no longer matters is forgotten: a session that ended when every token of then is too old', async () => {
  const clock = fakeClock()
  const issuers = [{ name: 'people', token: { max_age: '1h', replay: 'allow' } }] as never
  const state = memoryState(clock)
  const standings = createStandings({ state, issuers: () => issuers, clock })
  const followed = createFollowedSignals({ issuers: () => issuers, now: clock.now })
  const atMs = clock.now()
  await standings.apply(alice, 'ended', atMs)
  followed.see(storedOf(0, 'ended', atMs))
  const old = { ...alice, issuedAtMs: atMs - 60_000, claims: { iat: 1 } }
  expect(await standings.check(old)).toMatchObject({ ok: false, refusal: { code: 'session_revoked' } })
  expect(await standings.check({ ...old, issuedAtMs: atMs })).toMatchObject({ ok: true })
  // Without `iat` nobody knows from when it is.
  expect(await standings.check({ ...old, issuedAtMs: atMs, claims: {} })).toMatchObject({ ok: false })
  expect(await standings.check({ ...old, subject: 'bob' })).toMatchObject({ ok: true })
  await clock.advance(24 * 3_600_000)
  expect(await standings.check(old)).toMatchObject({ ok: false })
  expect(followed.list()).toEqual([0])
  await clock.advance(2 * 3_600_000)
  expect(await standings.get(alice)).toBeUndefined()
  expect(followed.list()).toEqual([])
})

test('a disabled account is never forgotten', async () => {
  const clock = fakeClock()
  const state = memoryState(clock)
  const standings = createStandings({ state, issuers: () => [], clock })
  await standings.apply(alice, 'disabled', clock.now())
  expect(standings.disabled().get('people/alice')).toBe(clock.now())
  await clock.advance(400 * 24 * 3_600_000)
  expect(await standings.check({ ...alice, issuedAtMs: clock.now(), claims: { iat: 1 } })).toMatchObject({
    ok: false,
    refusal: { code: 'account_disabled' },
  })
  await standings.apply(alice, 'enabled', clock.now())
  expect(await standings.check({ ...alice, issuedAtMs: clock.now(), claims: { iat: 1 } })).toMatchObject({ ok: true })
  expect(standings.disabled().size).toBe(0)
})
