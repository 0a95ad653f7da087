import { describe, expect, test } from 'vitest'
import { ok, type Result, refuse } from '../../src/base/result.ts'
import type { Issued } from '../../src/broker.ts'
import { deferred, eventually, grantId, head, issued, jsonOf, listening, send, testApp, wire } from './harness.ts'

const request = { purpose: 'read-orders' }
const body = JSON.stringify(request)
const whole =
  head('POST', '/v1/credentials', { 'Content-Type': 'application/json', 'Content-Length': String(body.length) }) + body

describe('more requests at once than the broker takes', () => {
  test('are refused at once with 503 and Retry-After, and taken again when a place is free', async () => {
    const { promise, resolve } = deferred<Result<Issued>>()
    const { app, calls } = testApp({ issue: () => promise }, { limits: { maxInFlight: 2 } })
    const first = [send(app, 'POST', '/v1/credentials', request), send(app, 'POST', '/v1/credentials', request)]
    await eventually(() => calls.length).toBe(2)
    const third = await send(app, 'POST', '/v1/credentials', request)
    expect(third.status).toBe(503)
    expect(third.headers.get('retry-after')).toBe('1')
    expect(await third.json()).toMatchObject({ code: 'draining', reasons: ['too many requests at once'] })
    expect(calls).toHaveLength(2)
    resolve(ok(issued({ password: 'p' })))
    expect((await Promise.all(first)).map((response) => response.status)).toEqual([201, 201])
    expect((await send(app, 'POST', '/v1/credentials', request)).status).toBe(201)
  })

  test('leave room for those that end secrets, which are bounded too', async () => {
    const { promise, resolve } = deferred<Result<never>>()
    const verbs = { issue: () => promise, revoke: () => promise, revocations: async () => ok({ revocations: [] }) }
    const { app, calls } = testApp(verbs, { limits: { maxInFlight: 1, maxUrgentInFlight: 1 } })
    const first = send(app, 'POST', '/v1/credentials', request)
    await eventually(() => calls.length).toBe(1)
    expect((await send(app, 'POST', '/v1/credentials', request)).status).toBe(503)
    expect((await send(app, 'GET', '/v1/revocations')).status).toBe(200)
    const second = send(app, 'POST', `/v1/grants/${grantId}/revoke`, {})
    await eventually(() => calls.length).toBe(3)
    expect((await send(app, 'GET', '/v1/revocations')).status).toBe(503)
    resolve(refuse('state_conflict', 'test', ''))
    expect((await Promise.all([first, second])).map(({ status }) => status)).toEqual([409, 409])
    expect((await send(app, 'GET', '/v1/revocations')).status).toBe(200)
  })

  test('leave the probes and the metrics answering', async () => {
    const { app } = testApp({}, { limits: { maxInFlight: 0 } })
    for (const path of ['/healthz', '/readyz', '/metrics']) expect((await app.request(path)).status).toBe(200)
    expect((await send(app, 'GET', '/v1/approvals')).status).toBe(503)
  })

  test.each([
    ['refusals', { issue: async () => ({ ok: false, refusal: { code: 'purpose_unknown', reasons: [] } }) as const }],
    ['faults', {}],
  ])('%s give their places back', async (_, verbs) => {
    const { app } = testApp(verbs, { limits: { maxInFlight: 1 } })
    const statuses = new Set<number>()
    for (let i = 0; i < 5; i++) statuses.add((await send(app, 'POST', '/v1/credentials', request)).status)
    for (let i = 0; i < 5; i++) statuses.add((await send(app, 'POST', '/v1/credentials', '{')).status)
    expect(statuses).not.toContain(503)
  })
})

describe('draining', () => {
  test('refuses new work with 503, closes connections, and keeps the probes', async () => {
    const draining = new AbortController()
    const { app, calls } = testApp({ issue: async () => ok(issued({ password: 'p' })) }, { draining: draining.signal })
    const server = await listening(app)
    const peer = await wire(server.port)
    peer.write(whole)
    await peer.receive('"ledger"')
    draining.abort()
    peer.write(whole)
    const received = await peer.closed()
    expect(received).toMatch(/HTTP\/1\.1 503 [\s\S]*connection: close/i)
    expect(jsonOf(received)).toMatchObject({ code: 'draining', reasons: ['shutting down'] })
    expect(calls).toHaveLength(1)
    const probe = await wire(server.port)
    probe.write(head('GET', '/healthz'))
    expect(await probe.closed()).toMatch(/^HTTP\/1\.1 200 .*connection: close/is)
  })

  test('lets work under way finish, closes idle connections at once, and takes no new ones', async () => {
    const { promise, resolve } = deferred<Result<Issued>>()
    const { app, calls } = testApp({ issue: () => promise })
    const server = await listening(app)
    const idle = await wire(server.port)
    idle.write(head('GET', '/healthz'))
    await idle.receive('"ok"')
    const busy = await wire(server.port)
    busy.write(whole)
    await eventually(() => calls.length).toBe(1)
    const closing = server.close(10_000)
    await idle.closed()
    await expect(wire(server.port)).rejects.toThrow('ECONNREFUSED')
    resolve(ok(issued({ password: 'p' })))
    expect(await busy.closed()).toMatch(/^HTTP\/1\.1 201 [\s\S]*"password":"p"/)
    expect(await closing).toEqual({ clean: true })
  })

  test('cuts what does not finish in time', async () => {
    const { app, calls } = testApp({ issue: () => new Promise(() => {}) })
    const server = await listening(app)
    const busy = await wire(server.port)
    busy.write(whole)
    await eventually(() => calls.length).toBe(1)
    expect(await server.close(20)).toEqual({ clean: false })
    expect(await busy.closed()).toBe('')
  })
})
