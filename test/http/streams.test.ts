import { describe, expect, test, vi } from 'vitest'
import { ok, type Result } from '../../src/base/result.ts'
import type { EntryFeed } from '../../src/broker/record.ts'
import type { AppDeps } from '../../src/http/app.ts'
import type { StoredEntry } from '../../src/ledger/ledger.ts'
import {
  countingClock,
  deferred,
  eventually,
  head,
  listening,
  type memoryLog,
  send,
  testApp,
  token,
  wire,
} from './harness.ts'

const stored = (index: number, detail = ''): StoredEntry => ({
  index,
  leafHash: 'ab',
  entry: {
    v: 1,
    time: '2026-11-22T12:00:00.000Z',
    kind: 'config.changed',
    actor: { type: 'broker', reason: 'test' },
    setting: 'x',
    detail,
  },
})

/** A feed that gives what it is told to, ends when it is told to, and knows whether it was let go of. */
function scriptedFeed() {
  const batches: (readonly StoredEntry[])[] = []
  let wake = (): void => {}
  let over = false
  let fault: Error | undefined
  const open = new Set<symbol>()
  const feed: EntryFeed = async function* (ended) {
    const id = Symbol()
    open.add(id)
    try {
      for (;;) {
        const batch = batches.shift()
        if (fault !== undefined) throw fault
        if (ended.aborted || (over && batch === undefined)) return
        if (batch !== undefined) yield batch
        else {
          await new Promise<void>((resolve) => {
            wake = resolve
            ended.addEventListener('abort', () => resolve())
          })
        }
      }
    } finally {
      open.delete(id)
    }
  }
  return {
    feed,
    open,
    give: (...entries: StoredEntry[]) => {
      batches.push(entries)
      wake()
    },
    end: () => {
      over = true
      wake()
    },
    fail: (error: Error) => {
      fault = error
      wake()
    },
  }
}

const path = '/v1/ledger/events'
const app = (feed: EntryFeed, deps: Partial<AppDeps> = {}) => testApp({ events: async () => ok(feed) }, deps)
const ends = (log: ReturnType<typeof memoryLog>) => log.lines.filter(({ event }) => event === 'stream_ended')

describe('a stream of events', () => {
  test('is written as server-sent events, each with its index and the entry as a list has it', async () => {
    const script = scriptedFeed()
    script.give(stored(3), stored(4, 'two\nlines'))
    script.give(stored(9))
    script.end()
    const response = await send(app(script.feed).app, 'GET', path)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    })
    const [first, ...events] = (await response.text()).split('\n\n').slice(0, -1)
    expect(first).toBe('retry: 2000')
    expect(events.map((event) => event.split('\n'))).toEqual(
      [stored(3), stored(4, 'two\nlines'), stored(9)].map(({ index, leafHash, entry }) => [
        `id: ${index}`,
        'event: entry',
        `data: ${JSON.stringify({ index, leaf_hash: leafHash, entry })}`,
      ]),
    )
    expect(script.open.size).toBe(0)
  })

  test('goes out as it comes, over a real connection', async () => {
    const script = scriptedFeed()
    const { port } = await listening(app(script.feed).app)
    const peer = await wire(port)
    peer.write(head('GET', path))
    await peer.receive('retry: 2000')
    script.give(stored(1))
    await peer.receive('id: 1\n')
    script.give(stored(2))
    await peer.receive('id: 2\n')
    script.end()
    expect(await peer.receive('\r\n0\r\n\r\n')).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('sends a sign of life when there is nothing to send', async () => {
    const clock = countingClock()
    const script = scriptedFeed()
    const { port } = await listening(app(script.feed, { clock, limits: { streamBeatMs: 1_000 } }).app)
    const peer = await wire(port)
    peer.write(head('GET', path))
    await peer.receive('retry: 2000')
    for (let beats = 1; beats <= 3; beats++) {
      await eventually(async () => {
        await clock.advance(1_000)
        return (await peer.receive('retry')).split('\r\n:\n\n').length - 1
      }).toBeGreaterThanOrEqual(beats)
    }
    script.give(stored(5))
    expect(await peer.receive('id: 5\n')).not.toMatch(/id: 5[\s\S]*id: 5/)
  })

  test('ends when its reader goes, and is let go of', async () => {
    const script = scriptedFeed()
    const { app: served, log } = app(script.feed)
    const { port } = await listening(served)
    const peer = await wire(port)
    peer.write(head('GET', path))
    await peer.receive('retry: 2000')
    expect(script.open.size).toBe(1)
    peer.socket.destroy()
    await eventually(() => script.open.size).toBe(0)
    await eventually(() => ends(log).map(({ end }) => end)).toEqual(['gone'])
    expect(ends(log)[0]).toMatchObject({ route: path, request_id: expect.stringMatching(/^rq_/) })
  })

  test('ends in silence when the record cannot be read on; what was thrown is logged and not sent', async () => {
    const script = scriptedFeed()
    script.give(stored(1))
    const { app: served, log } = app(script.feed)
    const response = await send(served, 'GET', path)
    const text = response.text()
    await eventually(() => script.open.size).toBe(1)
    script.fail(new Error('canary'))
    expect(await text).not.toContain('canary')
    expect(ends(log).map(({ end }) => end)).toEqual(['failed'])
    expect(log.lines.filter(({ event }) => event === 'fault')).toHaveLength(1)
    expect(JSON.stringify(log.lines)).not.toContain('canary')
  })

  test('answers HEAD without starting, and gives the place back', async () => {
    const feed = vi.fn<EntryFeed>()
    const { app: served } = app(feed, { limits: { maxStreams: 1 } })
    for (let i = 0; i < 3; i++) expect((await send(served, 'HEAD', path)).status).toBe(200)
    expect(feed).not.toHaveBeenCalled()
  })
})

describe('a reader who takes nothing', () => {
  test('is cut off after a while; little was kept for it, and another goes on', async () => {
    const clock = countingClock()
    const slow = scriptedFeed()
    const quick = scriptedFeed()
    const feeds = [slow.feed, quick.feed]
    const events = async () => ok(feeds.shift() ?? slow.feed)
    const { app: served, log } = testApp({ events }, { clock, limits: { streamStallMs: 5_000 } })
    const { port } = await listening(served, clock)
    const stuck = await wire(port)
    stuck.socket.pause()
    stuck.write(head('GET', path))
    await eventually(() => slow.open.size).toBe(1)
    const reading = await wire(port)
    reading.write(head('GET', path))
    await reading.receive('retry: 2000')

    // More than the buffers of two sockets hold, offered a megabyte at a time.
    const large = 'x'.repeat(60_000)
    let offered = 0
    for (; offered < 64; offered++) slow.give(...Array.from({ length: 16 }, () => stored(offered, large)))
    let asked = 0
    await eventually(async () => {
      const before = asked
      asked = clock.timersSet()
      return asked === before
    }).toBe(true)
    await clock.advance(5_000)
    await eventually(() => ends(log).map(({ end }) => end)).toEqual(['stalled'])
    await eventually(() => slow.open.size).toBe(0)
    quick.give(stored(7))
    await reading.receive('id: 7\n')
    stuck.socket.resume()
    expect((await stuck.closed()).length).toBeLessThan(offered * 16 * large.length)
  })
})

describe('many streams at once', () => {
  test('are as many as there may be; a thousand more are refused at once, and requests go on being answered', async () => {
    const script = scriptedFeed()
    const { app: served, calls } = testApp(
      { events: async () => ok(script.feed), approvals: async () => ok([]) },
      { limits: { maxStreams: 8, maxInFlight: 2 } },
    )
    const { port, url } = await listening(served)
    const open = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const peer = await wire(port)
        peer.write(head('GET', path))
        await peer.receive('retry: 2000')
        return peer
      }),
    )
    const headers = { authorization: `Bearer ${token}` }
    const refused = await Promise.all(Array.from({ length: 1_000 }, () => fetch(`${url}${path}`, { headers })))
    expect(new Set(refused.map(({ status }) => status))).toEqual(new Set([503]))
    expect(refused[0]?.headers.get('retry-after')).toBe('1')
    expect(await refused[0]?.json()).toMatchObject({ code: 'draining', reasons: ['too many requests at once'] })
    // Nobody was verified for it.
    expect(calls).toHaveLength(8)
    expect((await fetch(`${url}/v1/approvals`, { headers })).status).toBe(200)
    open[0]?.socket.destroy()
    await eventually(() => script.open.size).toBe(7)
    const next = await wire(port)
    next.write(head('GET', path))
    await next.receive('retry: 2000')
  })

  test('do not keep a place when they were refused, failed, or came too late', async () => {
    const clock = countingClock()
    const late = deferred<Result<EntryFeed>>()
    const outcomes = [
      async () => ({ ok: false, refusal: { code: 'role_required', reasons: [] } }) as const,
      async () => Promise.reject(new Error('no')),
      () => late.promise,
    ]
    const events = () => outcomes.shift()?.() ?? Promise.resolve(ok(scriptedFeed().feed))
    const { app: served, calls } = testApp({ events }, { clock, limits: { maxStreams: 1, requestMs: 1_000 } })
    expect((await send(served, 'GET', path)).status).toBe(403)
    expect((await send(served, 'GET', path)).status).toBe(500)
    const slow = send(served, 'GET', path)
    await eventually(() => calls.length).toBe(3)
    await clock.advance(1_000)
    expect((await slow).status).toBe(503)
    expect((await send(served, 'GET', path)).status).toBe(503)
    late.resolve(ok(scriptedFeed().feed))
    await eventually(async () => (await send(served, 'HEAD', path)).status).toBe(200)
  })
})

describe('draining', () => {
  test('ends every stream at once, so that the server closes well, and refuses new ones', async () => {
    const draining = new AbortController()
    const script = scriptedFeed()
    const { app: served, log } = app(script.feed, { draining: draining.signal })
    const server = await listening(served)
    const peers = await Promise.all([wire(server.port), wire(server.port)])
    for (const peer of peers) {
      peer.write(head('GET', path))
      await peer.receive('retry: 2000')
    }
    draining.abort()
    expect(await server.close(10_000)).toEqual({ clean: true })
    for (const peer of peers) expect(await peer.closed()).toMatch(/0\r\n\r\n$/)
    expect(ends(log).map(({ end }) => end)).toEqual(['draining', 'draining'])
    expect((await send(served, 'GET', path)).status).toBe(503)
  })
})

describe('Last-Event-ID', () => {
  const asked = async (query: string, lastEventId?: string) => {
    const script = scriptedFeed()
    script.end()
    const { app: served, calls } = app(script.feed)
    const headers = {
      authorization: `Bearer ${token}`,
      ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
    }
    const response = await served.request(`${path}${query}`, { headers })
    return { status: response.status, text: await response.text(), filter: calls[0]?.args[1] }
  }

  test('says where to go on, and wins over the URL the client began with', async () => {
    expect((await asked('')).filter).toEqual({})
    expect((await asked('?after=7&workload=checkout')).filter).toEqual({ after: 7, workload: 'checkout' })
    expect((await asked('?after=7&workload=checkout', '42')).filter).toEqual({ after: 42, workload: 'checkout' })
    expect((await asked('?after=7', '')).filter).toEqual({ after: 7 })
  })

  test.each(['x', '-1', '1.5', '1e3', '0x10', '01', ' 1 2', '9'.repeat(16), '9'.repeat(4_000), '١', '1,2'])(
    'of %j is refused and not repeated',
    async (id) => {
      const { status, text, filter } = await asked('', Buffer.from(id).toString('latin1'))
      expect([status, filter]).toEqual([400, undefined])
      expect(JSON.parse(text)).toMatchObject({
        code: 'request_invalid',
        reasons: ['Last-Event-ID: not the id of an event of this ledger'],
      })
    },
  )

  test.each([
    'limit=5',
    'order=desc',
    'before=3',
    'to=2026-11-22T12:00:00.000Z',
    'after=x',
    'after=1&after=2',
    'what=1',
  ])('and ?%s is not for streams', async (query) =>
    expect(await asked(`?${query}`)).toMatchObject({ status: 400, filter: undefined }),
  )
})
