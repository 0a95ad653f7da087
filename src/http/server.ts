import {
  createServer as createHttpServer,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import type { Clock } from '../base/clock.ts'
import { type Code, codes } from '../base/codes.ts'
import { BrokerFault } from '../base/errors.ts'
import { newId } from '../base/ids.ts'
import type { Log } from '../base/log.ts'
import type { App } from './app.ts'
import { securityHeaders } from './middleware/headers.ts'
import { problemOf } from './problem.ts'
import { keepTlsFresh, readTlsPair, type TlsFiles, type TlsReloader } from './tls.ts'

export interface ServerDeps {
  readonly app: Pick<App, 'fetch'>
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly tls?: TlsFiles
  readonly clock: Clock
  readonly log: Log
  /** As for `createApp`. */
  readonly docsUrlBase: string
}

/** A listening server. */
export interface RunningServer {
  readonly url: string
  readonly port: number
  /** Reads the TLS files again; does nothing without TLS. @throws BrokerFault `internal` */
  reload(): Promise<void>
  /**
   * Takes no new connections, lets requests in work finish and closes idle connections at once. What is still open
   * after `drainMs` (at most ten seconds) is cut. Resolves to whether everything finished by itself.
   */
  close(drainMs: number): Promise<{ readonly clean: boolean }>
}

const maxDrainMs = 10_000

// Node answers nothing by itself within these bounds; beyond them `clientError` below does.
const bounds = {
  maxHeaderSize: 32 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 1_000,
} satisfies ServerOptions
const maxConnections = 8_192

/**
 * Serves the application over HTTP/1.1, with TLS 1.2 or later where files are given.
 * @throws BrokerFault `internal` when the port cannot be had or the TLS files cannot be used; the message says which
 */
export async function startServer(deps: ServerDeps): Promise<RunningServer> {
  const { clock, docsUrlBase } = deps
  const refuse = createRefusal(docsUrlBase, clock)
  const listener = getRequestListener(deps.app.fetch, {
    // Only a target or a `Host` that is no URL comes here; the application answers everything else itself.
    errorHandler: () => {
      const { status, headers, text } = refuse('request_invalid', 'the target or the Host header is not valid')
      return new Response(text, { status, headers })
    },
  })
  const pair = deps.tls === undefined ? undefined : await readTlsPair(deps.tls)
  const work = trackWork()
  const onRequest: RequestListener = (incoming, outgoing) => {
    work.began(incoming.socket, outgoing)
    // Settles always: the application turns whatever is thrown into a response.
    void listener(incoming, outgoing)
  }
  const server =
    pair === undefined
      ? createHttpServer(bounds, onRequest)
      : createHttpsServer({ ...bounds, cert: pair.cert, key: pair.key, minVersion: 'TLSv1.2' }, onRequest)
  server.maxConnections = maxConnections
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (work.under(socket)) socket.destroy()
    else answerClientError(error, socket, refuse)
  })
  await listen(server, deps.host, deps.port)
  const reloader: TlsReloader | undefined =
    deps.tls === undefined ? undefined : await keepTlsFresh(server as HttpsServer, deps.tls, clock, deps.log)
  const { port, family, address } = server.address() as AddressInfo
  const name = family === 'IPv6' ? `[${address}]` : address
  return {
    url: `${pair === undefined ? 'http' : 'https'}://${name}:${port}`,
    port,
    reload: async () => reloader?.reload(),
    close(drainMs) {
      reloader?.stop()
      return drain(server, work, clock, Math.min(drainMs, maxDrainMs))
    },
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why: Partial<Record<string, string>> = {
        EADDRINUSE: 'the port is taken; stop what uses it or choose another',
        EACCES: 'this user may not bind the port; choose one above 1023',
        EADDRNOTAVAIL: 'this machine has no such address',
        ENOTFOUND: 'the host name has no address',
      }
      const reason = why[cause.code ?? ''] ?? cause.code ?? 'unknown'
      reject(new BrokerFault('internal', `cannot listen on ${host}:${port}: ${reason}`, { cause }))
    })
    server.listen({ host, port }, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })
}

/** Which connections have an answer on the way. */
interface Work {
  began(socket: Socket, outgoing: ServerResponse): void
  under(socket: Socket): boolean
  /** From now on `run` is called after every answer. */
  afterEach(run: () => void): void
}

function trackWork(): Work {
  const busy = new WeakSet<Socket>()
  let after: (() => void) | undefined
  return {
    began(socket, outgoing) {
      busy.add(socket)
      outgoing.once('close', () => {
        busy.delete(socket)
        if (after !== undefined) setImmediate(after)
      })
    },
    under: (socket) => busy.has(socket),
    afterEach(run) {
      after = run
    },
  }
}

function drain(server: Server, work: Work, clock: Clock, drainMs: number): Promise<{ readonly clean: boolean }> {
  return new Promise((resolve) => {
    let clean = true
    const timer = clock.after(drainMs, () => {
      clean = false
      server.closeAllConnections()
    })
    server.close(() => {
      timer.cancel()
      resolve({ clean })
    })
    // A connection turns idle when its last answer is written, so every answer is a moment to look again.
    work.afterEach(() => server.closeIdleConnections())
    server.closeIdleConnections()
  })
}

type Refuse = (code: Code, reason: string) => { status: number; headers: Record<string, string>; text: string }

function createRefusal(docsUrlBase: string, clock: Clock): Refuse {
  const commonHeaders = securityHeaders(docsUrlBase)
  return (code, reason) => {
    const requestId = newId('rq', clock.now())
    const refusal = { code, reasons: [{ rule: reason, ok: false, detail: '' }] }
    const { problem, headers } = problemOf(refusal, requestId, docsUrlBase)
    return {
      status: codes[code].status,
      headers: {
        ...commonHeaders(requestId),
        ...headers,
        'content-type': 'application/problem+json',
        connection: 'close',
      },
      text: JSON.stringify(problem),
    }
  }
}

// What Node's parser refused never became a request, so the answer is written by hand.
function answerClientError(error: NodeJS.ErrnoException, socket: Socket, refuse: Refuse): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const [code, reason]: [Code, string] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? ['too_large', `headers: more than ${bounds.maxHeaderSize} bytes`]
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ['request_invalid', 'the request did not arrive in time']
        : ['request_invalid', 'it is not HTTP/1.1']
  const { status, headers, text } = refuse(code, reason)
  const lines = Object.entries({ ...headers, 'content-length': String(Buffer.byteLength(text)) })
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  socket.end(`HTTP/1.1 ${status} ${codes[code].title}\r\n${head}\r\n${text}`)
}
