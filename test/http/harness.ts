import { createConnection, type Socket } from 'node:net'
import { expect, onTestFinished } from 'vitest'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { newId } from '../../src/base/ids.ts'
import type { Log } from '../../src/base/log.ts'
import { ok } from '../../src/base/result.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Broker, Issued } from '../../src/broker.ts'
import type { Readiness } from '../../src/contract/readiness.ts'
import { type App, type AppDeps, createApp } from '../../src/http/app.ts'
import { createMetrics } from '../../src/http/metrics.ts'
import { type RunningServer, startServer } from '../../src/http/server.ts'
import type { PublishedLog } from '../../src/ledger/log/published.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'

export const docsUrlBase = 'https://writ.example.com'
export const atMs = Date.UTC(2026, 10, 22, 12)
export const at = new Date(atMs).toISOString()
export const grantId = newId('gr', atMs)
export const taskId = newId('tsk', atMs)
export const approvalId = newId('ap', atMs)
export const token = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln'

/** One call the application made on the broker. */
export interface Call {
  readonly verb: string
  readonly args: readonly unknown[]
}

/** A broker whose verbs are what the test says; any other verb is a failure of the application. */
function scriptedBroker(verbs: Partial<Broker>): { broker: Broker; calls: Call[] } {
  const calls: Call[] = []
  const broker = new Proxy(verbs as Broker, {
    get(target, name) {
      const verb = String(name) as keyof Broker
      return (...args: unknown[]) => {
        calls.push({ verb, args })
        const run = target[verb] as ((...args: unknown[]) => unknown) | undefined
        if (run === undefined) throw new Error(`the application called ${verb}, which this test does not expect`)
        return run(...args)
      }
    },
  })
  return { broker, calls }
}

/** An issued credential with this secret. */
export const issued = (secret: Record<string, unknown>): Issued => ({
  status: 'issued',
  body: {
    grant: grantId,
    workload: 'checkout',
    purpose: 'read-orders',
    credential: 'orders-ro',
    environment: 'prod',
    issued_at: at,
    expires_at: at,
    ttl_capped_by: ['purpose'],
    renewable: true,
    revocable: true,
    delivery: 'plain',
    ledger: { index: 42, receipt: '/v1/ledger/entries/42/receipt' },
  },
  secret: new Secret(secret),
})

export const readiness: Readiness = {
  ready: true,
  draining: false,
  issuers: [{ name: 'cluster-eu', ready: true, problem: null }],
  vault: { ready: true, problem: null, tokens: [] },
  ledger: { ready: true, problem: null, size: 7 },
  state: { ready: true, problem: null },
  policy: { digest: 'a'.repeat(64), loaded_at: at, workloads: 3, refused: null, held: null, ending: 0 },
}

/** A log that keeps its lines. */
export function memoryLog(): Log & { lines: (Record<string, unknown> & { event: string })[] } {
  const lines: (Record<string, unknown> & { event: string })[] = []
  const keep = (fields: Record<string, unknown>, event: string): void => {
    lines.push({ ...fields, event })
  }
  return { info: keep, warn: keep, error: keep, lines }
}

/** A published log for tests that are not about it. */
export const noLog: PublishedLog = {
  origin: 'writ.test/ledger',
  vkey: '',
  checkpoint: () => '',
  signedSize: () => 0,
  tile: async () => undefined,
  covered: async () => false,
}

/** An application over a scripted broker. */
export function testApp(
  verbs: Partial<Broker>,
  deps: Partial<AppDeps> = {},
): { app: App; calls: Call[]; log: ReturnType<typeof memoryLog> } {
  const { broker, calls } = scriptedBroker(verbs)
  const log = memoryLog()
  const app = createApp({
    broker,
    readiness: async () => readiness,
    metrics: createMetrics({ process: false }),
    log,
    clock: systemClock,
    draining: new AbortController().signal,
    tokenKeys: { current: async () => ({ keys: [] }) },
    publishedLog: { log: noLog, public: false },
    docsUrlBase,
    ...deps,
  })
  return { app, calls, log }
}

/** Sends JSON with a token to an application in memory. */
export async function send(app: App, method: string, path: string, body?: unknown): Promise<Response> {
  const headers: Record<string, string> = { authorization: `Bearer ${token}` }
  if (body === undefined) return app.request(path, { method, headers })
  headers['content-type'] = 'application/json'
  return app.request(path, { method, headers, body: typeof body === 'string' ? body : JSON.stringify(body) })
}

/** Serves an application on a free port until the test ends. */
export async function listening(app: App, clock: Clock = systemClock): Promise<RunningServer> {
  const server = await startServer({ app, host: '127.0.0.1', port: 0, clock, log: memoryLog(), docsUrlBase })
  onTestFinished(async () => {
    await server.close(0)
  })
  return server
}

/** A plain connection on which a test writes bytes as it likes. */
export interface Wire {
  readonly socket: Socket
  write(text: string | Uint8Array): void
  /** Everything received once `until` is in it. */
  receive(until: string | RegExp): Promise<string>
  /** Everything received until the peer closed. */
  closed(): Promise<string>
}

export async function wire(port: number): Promise<Wire> {
  const socket = createConnection({ host: '127.0.0.1', port })
  let received = ''
  let ended = false
  let wake = (): void => {}
  const notify = (): void => wake()
  socket.setEncoding('utf8')
  socket.on('data', (text: string) => {
    received += text
    notify()
  })
  socket.on('error', notify)
  socket.on('close', () => {
    ended = true
    notify()
  })
  onTestFinished(() => {
    socket.destroy()
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  const waitFor = async (done: () => boolean): Promise<string> => {
    while (!done()) {
      if (ended) throw new Error(`the connection ended after: ${received}`)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    return received
  }
  return {
    socket,
    write: (text) => {
      socket.write(text)
    },
    receive: (until) => waitFor(() => (typeof until === 'string' ? received.includes(until) : until.test(received))),
    async closed() {
      await waitFor(() => ended)
      return received
    },
  }
}

/** The head of a request with a token, as it goes over the wire. */
export const head = (method: string, path: string, headers: Record<string, string> = {}): string =>
  `${method} ${path} HTTP/1.1\r\n${Object.entries({
    Host: 'writ.example.com',
    Authorization: `Bearer ${token}`,
    ...headers,
  })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n`

/** The body of the last JSON answer in what was received. */
export const jsonOf = (received: string): Record<string, unknown> =>
  JSON.parse(received.slice(received.lastIndexOf('\r\n\r\n') + 4)) as Record<string, unknown>

/** A promise that the test settles. */
export function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  return Promise.withResolvers<T>()
}

export const granted = async (): Promise<ReturnType<typeof ok<Issued>>> => ok(issued({ username: 'u', password: 'p' }))

/** A clock of the test that also says how many timers were ever set, to wait for one before moving time. */
export function countingClock(): FakeClock & { timersSet(): number } {
  const clock = fakeClock()
  let count = 0
  return {
    ...clock,
    after(delayMs, run) {
      count++
      return clock.after(delayMs, run)
    },
    timersSet: () => count,
  }
}

/** Asserts on what `read` will give before long; the limit is for a machine under load, not a measure. */
export const eventually = <T>(read: () => T): ReturnType<typeof expect.poll<Awaited<T>>> =>
  expect.poll(read as never, { timeout: 20_000 })
