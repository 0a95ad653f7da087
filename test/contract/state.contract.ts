import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { State } from '../../src/state/state.ts'
import type { FakeClock } from '../support/clock.ts'

interface Started {
  readonly state: State
  readonly clock: FakeClock
  readonly stop: () => Promise<void>
}

/** What every store of shared state guarantees; run once for each adapter. */
export function stateContract(name: string, start: () => Promise<Started>): void {
  describe(`state contract: ${name}`, () => {
    let state: State
    let clock: FakeClock
    let stop: () => Promise<void>
    beforeEach(async () => {
      const started = await start()
      state = started.state
      clock = started.clock
      stop = started.stop
    })
    afterEach(() => stop())

    const live = (label: string) => ({ labels: ['live', label] })

    test('a record is stored once and read back with its version', async () => {
      expect(await state.insert('grant', 'a', { n: 1 }, live('x=1'))).toEqual({ outcome: 'inserted' })
      expect(await state.insert('grant', 'a', { n: 2 }, live('x=1'))).toEqual({ outcome: 'exists' })
      expect(await state.get('grant', 'a')).toEqual({ version: 1, value: { n: 1 } })
      expect(await state.get('task', 'a')).toBeUndefined()
    })

    test('of many swaps from one version exactly one wins', async () => {
      await state.insert('grant', 'a', { n: 0 }, live('x=1'))
      const swaps = Array.from({ length: 50 }, (_, n) => state.swap('grant', 'a', 1, { n }, live('x=1')))
      const won = (await Promise.all(swaps)).filter(Boolean)
      expect(won).toHaveLength(1)
      expect((await state.get('grant', 'a'))?.version).toBe(2)
      expect(await state.swap('grant', 'missing', 1, {}, live('x=1'))).toBe(false)
    })

    test('a label limit admits exactly as many records as it says, however many ask at once', async () => {
      const asked = Array.from({ length: 40 }, (_, i) =>
        state.insert('grant', `g${i}`, {}, { labels: ['live=w'] }, [{ label: 'live=w', max: 7 }]),
      )
      const outcomes = await Promise.all(asked)
      expect(outcomes.filter(({ outcome }) => outcome === 'inserted')).toHaveLength(7)
      expect(outcomes.filter(({ outcome }) => outcome === 'limited')[0]).toEqual({
        outcome: 'limited',
        label: 'live=w',
      })
      expect(await state.count('grant', 'live=w')).toBe(7)
    })

    test('a record that drops its label makes room under the limit', async () => {
      const limit = [{ label: 'live=w', max: 1 }]
      await state.insert('grant', 'a', {}, { labels: ['live=w'] }, limit)
      expect((await state.insert('grant', 'b', {}, { labels: ['live=w'] }, limit)).outcome).toBe('limited')
      await state.swap('grant', 'a', 1, {}, { labels: [] })
      expect((await state.insert('grant', 'b', {}, { labels: ['live=w'] }, limit)).outcome).toBe('inserted')
    })

    test('a scan comes by every record that is there all the while, in bounded steps, whatever else changes', async () => {
      const ids = Array.from({ length: 1_200 }, (_, i) => `g${i}`)
      for (const id of ids) await state.insert('grant', id, {}, live('x=1'))
      const seen: string[] = []
      for await (const some of state.scan('grant')) {
        expect(some.length).toBeLessThanOrEqual(1_000)
        seen.push(...some)
        await state.insert('grant', `late${seen.length}`, {}, live('x=1'))
        await state.swap('grant', 'g7', 1, { moved: true }, { labels: [] })
      }
      expect(seen.filter((id) => !id.startsWith('late'))).toEqual(ids)
      expect(new Set(seen).size).toBe(seen.length)
    })

    test('find intersects labels, oldest first, and pages without loss or repeat', async () => {
      for (let i = 0; i < 25; i++) {
        await state.insert('grant', `g${i}`, {}, { labels: [`parity=${i % 2}`, 'all'] })
      }
      const seen: string[] = []
      for (let after: string | undefined; ; ) {
        const page = await state.find(
          'grant',
          ['all', 'parity=1'],
          after === undefined ? { limit: 5 } : { after, limit: 5 },
        )
        seen.push(...page)
        after = page.at(-1)
        if (page.length < 5) break
      }
      expect(seen).toEqual(Array.from({ length: 12 }, (_, i) => `g${2 * i + 1}`))
      expect(await state.find('grant', ['none'], { limit: 5 })).toEqual([])
      expect(await state.find('grant', [], { limit: 3 })).toEqual(['g0', 'g1', 'g2'])
    })

    test('due names what time has reached, earliest first, until it is moved', async () => {
      const at = (ms: number) => ({ labels: [], dueAtMs: clock.now() + ms })
      await state.insert('task', 'late', {}, at(3_000))
      await state.insert('task', 'soon', {}, at(1_000))
      await state.insert('task', 'next', {}, at(2_000))
      await state.insert('task', 'never', {}, { labels: [] })
      expect(await state.due('task', clock.now(), 10)).toEqual([])
      await clock.advance(2_000)
      expect(await state.due('task', clock.now(), 10)).toEqual(['soon', 'next'])
      expect(await state.due('task', clock.now(), 1)).toEqual(['soon'])
      expect(await state.due('task', clock.now(), 10)).toEqual(['soon', 'next'])
      await state.swap('task', 'soon', 1, {}, at(60_000))
      await state.swap('task', 'next', 1, {}, { labels: [] })
      expect(await state.due('task', clock.now(), 10)).toEqual([])
      await clock.advance(60_000)
      expect(await state.due('task', clock.now(), 10)).toEqual(['late', 'soon'])
    })

    test('a record is forgotten at its time, with its labels', async () => {
      await state.insert('approval', 'a', {}, { labels: ['x'], forgetAtMs: clock.now() + 1_000 })
      await clock.advance(999)
      expect(await state.find('approval', ['x'], { limit: 9 })).toEqual(['a'])
      await clock.advance(1)
      expect(await state.get('approval', 'a')).toBeUndefined()
      expect(await state.find('approval', ['x'], { limit: 9 })).toEqual([])
    })

    test('several records come in together or not at all, whatever is stored beside them', async () => {
      const limit = [{ label: 'live=w', max: 3 }]
      const pair = (name: string) =>
        ['a', 'b'].map((half) => ({ id: `${name}${half}`, value: {}, indexing: { labels: ['live=w'] } }))
      const outcomes = await Promise.all(['x', 'y', 'z'].map((name) => state.insertAll('grant', pair(name), limit)))
      expect(outcomes.map(({ outcome }) => outcome).toSorted()).toEqual(['inserted', 'limited', 'limited'])
      expect(await state.count('grant', 'live=w')).toBe(2)
      const [first = ''] = await state.find('grant', ['live=w'], { limit: 1 })
      const taken = [
        { id: 'new', value: {}, indexing: { labels: [] } },
        { id: first, value: {}, indexing: { labels: [] } },
      ]
      expect(await state.insertAll('grant', taken)).toEqual({ outcome: 'exists' })
      expect(await state.get('grant', 'new')).toBeUndefined()
      // What does not carry the label does not need its room.
      const beside = [...pair('w').slice(0, 1), { id: 'other', value: {}, indexing: { labels: [] } }]
      expect(await state.insertAll('grant', beside, limit)).toEqual({ outcome: 'inserted' })
    })

    test('a claim has one winner until it lapses', async () => {
      const untilMs = clock.now() + 5_000
      const claims = await Promise.all(Array.from({ length: 30 }, () => state.claim('jti', untilMs)))
      expect(claims.filter(Boolean)).toHaveLength(1)
      await clock.advance(4_999)
      expect(await state.claim('jti', untilMs)).toBe(false)
      await clock.advance(1)
      expect(await state.claim('jti', clock.now() + 5_000)).toBe(true)
    })

    test('a rate admits its number in any window and says when to come back', async () => {
      const hits = await Promise.all(Array.from({ length: 5 }, () => state.hit('k', 3, 60_000)))
      expect(hits.map(({ retryAfterMs }) => retryAfterMs)).toEqual([0, 0, 0, 60_000, 60_000])
      expect(await state.hits('k', 60_000)).toBe(3)
      await clock.advance(59_999)
      expect(await state.hit('k', 3, 60_000)).toEqual({ retryAfterMs: 1 })
      expect(await state.hit('other', 3, 60_000)).toEqual({ retryAfterMs: 0 })
      await clock.advance(1)
      expect(await state.hit('k', 3, 60_000)).toEqual({ retryAfterMs: 0 })
    })

    test('several hits are counted together or not at all', async () => {
      expect(await state.hit('k', 3, 60_000)).toEqual({ retryAfterMs: 0 })
      await clock.advance(10_000)
      expect(await state.hit('k', 3, 60_000, 3)).toEqual({ retryAfterMs: 50_000 })
      expect(await state.hits('k', 60_000)).toBe(1)
      expect(await state.hit('k', 3, 60_000, 2)).toEqual({ retryAfterMs: 0 })
      expect(await state.hits('k', 60_000)).toBe(3)
      expect(await state.hit('k', 3, 60_000, 4)).toEqual({ retryAfterMs: 60_000 })
    })
  })
}
