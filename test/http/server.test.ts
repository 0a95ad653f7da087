import { createServer } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { ok, type Result } from '../../src/base/result.ts'
import type { Issued } from '../../src/broker.ts'
import type { EndedGrant } from '../../src/contract/grant.ts'
import { startServer } from '../../src/http/server.ts'
import {
  countingClock,
  deferred,
  docsUrlBase,
  eventually,
  granted,
  grantId,
  head,
  issued,
  jsonOf,
  listening,
  memoryLog,
  testApp,
  token,
  wire,
} from './harness.ts'

const body = '{"purpose":"read-orders"}'
const json = { 'Content-Type': 'application/json' }
const whole = head('POST', '/v1/credentials', { ...json, 'Content-Length': String(body.length) }) + body

describe('over a socket', () => {
  test('a connection is kept and serves one request after another, pipelined ones too', async () => {
    const { app, calls } = testApp({ issue: granted })
    const peer = await wire((await listening(app)).port)
    peer.write(whole)
    await peer.receive('"ledger"')
    peer.write(whole + whole)
    const received = await peer.receive(/(?:HTTP\/1\.1 201[\s\S]*"ledger"[\s\S]*){3}/)
    expect(received.match(/HTTP\/1\.1 201/g)).toHaveLength(3)
    expect(received).not.toMatch(/connection: close/i)
    expect(calls).toHaveLength(3)
  })

  test('the broker is told the address of the peer', async () => {
    const { app, calls } = testApp({ issue: granted })
    const peer = await wire((await listening(app)).port)
    peer.write(whole)
    await peer.receive('"ledger"')
    expect(calls[0]?.args[0]).toMatchObject({ ip: '127.0.0.1', token })
  })

  test('a chunked body is taken', async () => {
    const { app } = testApp({ issue: granted })
    const peer = await wire((await listening(app)).port)
    peer.write(head('POST', '/v1/credentials', { ...json, 'Transfer-Encoding': 'chunked' }))
    for (const piece of [body.slice(0, 5), body.slice(5)]) peer.write(`${piece.length.toString(16)}\r\n${piece}\r\n`)
    peer.write('0\r\n\r\n')
    expect(await peer.receive('"ledger"')).toContain('HTTP/1.1 201')
  })

  test('a chunked body of more than 64 KiB is 413 before it has ended, and the connection closes', async () => {
    const { app, calls } = testApp({})
    const peer = await wire((await listening(app)).port)
    peer.write(head('POST', '/v1/credentials', { ...json, 'Transfer-Encoding': 'chunked' }))
    const piece = 'x'.repeat(8192)
    for (let i = 0; i < 9; i++) peer.write(`2000\r\n${piece}\r\n`)
    const received = await peer.closed()
    expect(received).toMatch(/^HTTP\/1\.1 413 [\s\S]*connection: close/i)
    expect(jsonOf(received)).toMatchObject({ code: 'too_large' })
    expect(calls).toEqual([])
  })

  test('a declared length of more than 64 KiB is 413 before a byte of it is sent', async () => {
    const peer = await wire((await listening(testApp({}).app)).port)
    peer.write(head('POST', '/v1/credentials', { ...json, 'Content-Length': '65537' }))
    expect(await peer.receive('too_large')).toMatch(/^HTTP\/1\.1 413 /)
  })

  test('a body that trickles is refused when its time is over', async () => {
    const clock = countingClock()
    const { app } = testApp({}, { clock })
    const peer = await wire((await listening(app)).port)
    peer.write(head('POST', '/v1/credentials', { ...json, 'Content-Length': '25' }) + body.slice(0, 4))
    await eventually(() => clock.timersSet()).toBe(2)
    await clock.advance(10_000)
    const received = await peer.receive('within 10 s')
    expect(received).toMatch(/^HTTP\/1\.1 400 [\s\S]*connection: close/i)
    expect(jsonOf(received)).toMatchObject({
      code: 'request_invalid',
      reasons: ['body: it did not arrive within 10 s'],
    })
  })

  test('a peer that goes away in the middle of its body harms nobody', async () => {
    const { app, calls, log } = testApp({ issue: granted })
    const server = await listening(app)
    const peer = await wire(server.port)
    peer.write(head('POST', '/v1/credentials', { ...json, 'Content-Length': '25' }) + body.slice(0, 4))
    await eventually(() => peer.socket.bytesWritten).toBeGreaterThan(0)
    peer.socket.resetAndDestroy()
    await eventually(() => log.lines.find((line) => line.status === 400)).toMatchObject({ code: 'request_invalid' })
    const other = await wire(server.port)
    other.write(whole)
    expect(await other.receive('"ledger"')).toContain('HTTP/1.1 201')
    expect(calls).toHaveLength(1)
  })

  test.each([
    ['one huge header', head('GET', '/healthz', { 'X-Bomb': 'x'.repeat(40_000) }), 413, 'too_large'],
    [
      'many headers',
      head('GET', '/healthz', Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`X-${i}`, 'bomb!']))),
      413,
      'too_large',
    ],
    ['a huge target', head('GET', `/${'a'.repeat(40_000)}`), 413, 'too_large'],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n\r\n', 400, 'request_invalid'],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01', 400, 'request_invalid'],
    ['a NUL in a header', head('GET', '/healthz', { 'X-A': 'a\0b' }), 400, 'request_invalid'],
    [
      'two lengths',
      head('POST', '/v1/credentials', { 'Content-Length': '5', 'content-length': '6' }),
      400,
      'request_invalid',
    ],
    [
      'a length and chunks',
      head('POST', '/v1/credentials', { 'Content-Length': '5', 'Transfer-Encoding': 'chunked' }),
      400,
      'request_invalid',
    ],
    ['a negative length', head('POST', '/v1/credentials', { 'Content-Length': '-1' }), 400, 'request_invalid'],
    ['a Host that is none', head('GET', '/healthz', { Host: 'a b/c' }), 400, 'request_invalid'],
    ['a backslash in the path', head('GET', '/v1\\..\\healthz'), 400, 'request_invalid'],
    ['an absolute target that is none', head('GET', 'http://[::'), 400, 'request_invalid'],
  ])('%s is a problem, and the connection closes', async (_, bytes, status, code) => {
    const peer = await wire((await listening(testApp({}).app)).port)
    peer.write(bytes)
    const received = await peer.receive(/"reasons":\[.*\]\}/)
    expect(received).toMatch(new RegExp(`^HTTP/1\\.1 ${status} .*application/problem\\+json`, 's'))
    expect(received).toMatch(/connection: close/i)
    expect(jsonOf(received)).toMatchObject({ code, status, type: `${docsUrlBase}/docs/errors#${code}` })
  })

  test.each([
    ['/v1/grants/..%2f..%2fhealthz', 404],
    ['/v1/grants/../../nope', 404],
    ['/v1/grants/%00', 404],
    ['//evil.example/v1/grants', 404],
    ['/v1//grants', 404],
    [`/v1/grants/${grantId};x=1`, 404],
  ])('GET %s stays inside and is a 404', async (path, status) => {
    const { app, calls } = testApp({})
    const peer = await wire((await listening(app)).port)
    peer.write(head('GET', path))
    expect(await peer.receive('"reasons"')).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(calls).toEqual([])
  })

  test.each(['TRACE', 'PROPFIND', 'PATCH'])('%s on a known path is 405', async (method) => {
    const peer = await wire((await listening(testApp({}).app)).port)
    peer.write(head(method, '/healthz'))
    expect(await peer.receive('"reasons"')).toMatch(/^HTTP\/1\.1 405 [\s\S]*allow: GET, HEAD/i)
  })

  test('an upgrade is not taken', async () => {
    const peer = await wire((await listening(testApp({}).app)).port)
    peer.write(head('GET', '/healthz', { Connection: 'Upgrade', Upgrade: 'websocket' }))
    expect(await peer.receive('"ok"')).toMatch(/^HTTP\/1\.1 200 /)
  })
})

describe('a secret that cannot be delivered', () => {
  test('is handed to onUndelivered when the caller has gone before the answer', async () => {
    const { promise, resolve } = deferred<Result<Issued>>()
    const asked = deferred<void>()
    const lost: string[] = []
    const { app } = testApp(
      {
        issue() {
          asked.resolve()
          return promise
        },
      },
      { onUndelivered: (grant) => lost.push(grant) },
    )
    const peer = await wire((await listening(app)).port)
    peer.write(whole)
    await asked.promise
    peer.socket.resetAndDestroy()
    await peer.closed()
    resolve(ok(issued({ password: 'p' })))
    await eventually(() => lost).toEqual([grantId])
  })

  test('is handed to onUndelivered when it was minted after the deadline, and the caller has a 503 by then', async () => {
    const clock = countingClock()
    const { promise, resolve } = deferred<Result<Issued>>()
    const asked = deferred<void>()
    const lost: string[] = []
    const issue = (): Promise<Result<Issued>> => {
      asked.resolve()
      return promise
    }
    const { app } = testApp({ issue }, { clock, onUndelivered: (grant) => lost.push(grant) })
    const peer = await wire((await listening(app)).port)
    peer.write(whole)
    // The body's timer and the deadline's.
    await eventually(() => clock.timersSet()).toBe(2)
    await asked.promise
    await clock.advance(60_000)
    const received = await peer.receive('"reasons"')
    expect(received).toMatch(/^HTTP\/1\.1 503 [\s\S]*retry-after: 1/i)
    expect(jsonOf(received)).toMatchObject({ code: 'draining', reasons: ['the request took too long'] })
    expect(lost).toEqual([])
    resolve(ok(issued({ password: 'p' })))
    await eventually(() => lost).toEqual([grantId])
  })

  test('ending a secret is waited for beyond the deadline of a request, for as long as Vault has for it', async () => {
    const clock = countingClock()
    const { promise, resolve } = deferred<Result<EndedGrant>>()
    const asked = deferred<void>()
    const revoke = (): Promise<Result<EndedGrant>> => {
      asked.resolve()
      return promise
    }
    const peer = await wire((await listening(testApp({ revoke }, { clock }).app)).port)
    peer.write(`${head('POST', `/v1/grants/${grantId}/revoke`, { ...json, 'Content-Length': '2' })}{}`)
    await eventually(() => clock.timersSet()).toBe(2)
    await asked.promise
    await clock.advance(90_000)
    resolve(ok({ grant: grantId, credential: 'orders-ro', outcome: 'revoked', latency_ms: 90_000 }))
    expect(jsonOf(await peer.receive('"latency_ms"'))).toMatchObject({ outcome: 'revoked' })
  })

  test('is not, when it was delivered', async () => {
    const lost: string[] = []
    const { app } = testApp({ issue: granted }, { onUndelivered: (grant) => lost.push(grant) })
    const server = await listening(app)
    const peer = await wire(server.port)
    peer.write(whole)
    await peer.receive('"ledger"')
    peer.socket.destroy()
    await server.close(1000)
    expect(lost).toEqual([])
  })
})

describe('listening', () => {
  const listen = (host: string, port: number): ReturnType<typeof startServer> =>
    startServer({ app: testApp({}).app, host, port, clock: systemClock, log: memoryLog(), docsUrlBase })

  test('on a taken port fails with a sentence that says so', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      other.close()
    })
    const address = other.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    await expect(listen('127.0.0.1', port)).rejects.toThrow(
      `cannot listen on 127.0.0.1:${port}: the port is taken; stop what uses it or choose another`,
    )
  })

  test('on an address of another machine fails with a sentence that says so', async () => {
    await expect(listen('192.0.2.1', 0)).rejects.toThrow(
      'cannot listen on 192.0.2.1:0: this machine has no such address',
    )
  })

  test('on port 0 takes a free port and names it', async () => {
    const server = await listen('127.0.0.1', 0)
    onTestFinished(async () => {
      await server.close(0)
    })
    expect(server.url).toBe(`http://127.0.0.1:${server.port}`)
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
  })
})
