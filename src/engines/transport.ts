import { type Dispatcher, Pool } from 'undici'
import type { Clock, Timer } from '../base/clock.ts'
import type { FaultKind } from './faults.ts'

/** One HTTP exchange as node-vault describes it (the shape of the `request-promise` package), and our own additions. */
interface TransportCall {
  readonly uri: string
  readonly method: string
  readonly headers: Record<string, string>
  /** The body, or `true` where there is none (node-vault's default). */
  readonly json?: unknown
  readonly deadlineMs?: number
  readonly signal?: AbortSignal
  /** Longest answer that is read, where it is not the usual one. */
  readonly maxBytes?: number
}

/** What node-vault reads of an answer. Bodies of refusals are reduced to their error texts and the retry hint. */
interface TransportAnswer {
  readonly statusCode: number
  readonly body: unknown
  readonly request: { readonly path: string }
}

/** The body of an answer that is not 2xx, as the transport hands it on. */
export interface RefusedBody {
  readonly errors: readonly string[]
  /** False when the answer does not look like one of Vault's own. */
  readonly fromVault: boolean
  readonly retryAfterSeconds: number | undefined
}

export interface Transport {
  send(call: TransportCall): Promise<TransportAnswer>
  /** Ends the pool at once; calls under way fail as lost. */
  close(): Promise<void>
}

export interface TransportOptions {
  readonly address: string
  readonly caCertPem?: string
  readonly clock: Clock
  readonly deadlineMs: number
  /** Sockets kept to Vault. One request at a time on each: a slow mint never holds up another behind it. */
  readonly connections?: number
  /** Calls under way and waiting for a socket; one more is refused as `busy`, so that no queue grows without bound. */
  readonly maxInFlight?: number
  readonly maxBytes?: number
}

/** No usable answer. `kind` says whether Vault can have acted: only `lost`, `timeout`, `aborted`, `unreadable` and `oversized` can. */
export class TransportFailure extends Error {
  readonly kind: FaultKind
  /** Code of the system's or TLS's error, such as `ECONNREFUSED` or `SELF_SIGNED_CERT_IN_CHAIN`; empty when there is none. */
  readonly reason: string

  constructor(kind: FaultKind, cause: unknown = undefined) {
    super(kind)
    this.name = 'TransportFailure'
    this.kind = kind
    this.reason = systemCode(cause)
  }
}

/** Messages of errors may quote what was sent; a code cannot. */
function systemCode(thrown: unknown): string {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : ''
  return /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : ''
}

/** A transport on an undici pool: keep-alive, one deadline for queueing, sending and reading, bounded body and queue. */
export function createTransport(options: TransportOptions): Transport {
  const { clock, maxInFlight = 256, maxBytes = 1024 * 1024 } = options
  const origin = new URL(options.address).origin
  const pool = new Pool(origin, {
    connections: options.connections ?? 64,
    pipelining: 1,
    keepAliveTimeout: 30_000,
    connect: { timeout: 5_000, ...(options.caCertPem === undefined ? {} : { ca: options.caCertPem }) },
    // The deadline of the call covers all of it; undici's own timers would only add cost.
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  let inFlight = 0

  function send(call: TransportCall): Promise<TransportAnswer> {
    return new Promise((resolve, reject) => {
      if (call.signal?.aborted) return reject(new TransportFailure('busy'))
      if (inFlight >= maxInFlight) return reject(new TransportFailure('busy'))
      const path = call.uri.slice(origin.length)
      if (!isWritable(path, call.headers)) return reject(new TransportFailure('unreachable', unwritable))
      inFlight += 1
      const exchange = createExchange(path, call.maxBytes ?? maxBytes, (answer) => {
        inFlight -= 1
        deadline.cancel()
        call.signal?.removeEventListener('abort', abort)
        if (answer instanceof TransportFailure) reject(answer)
        else resolve(answer)
      })
      const deadline: Timer = clock.after(call.deadlineMs ?? options.deadlineMs, () => exchange.stop('timeout'))
      const abort = (): void => exchange.stop('aborted')
      call.signal?.addEventListener('abort', abort, { once: true })
      const body = typeof call.json === 'object' && call.json !== null ? JSON.stringify(call.json) : null
      if (body !== null) call.headers['content-type'] = 'application/json'
      const method = call.method as Dispatcher.HttpMethod
      pool.dispatch({ path, method, headers: call.headers, body }, exchange.handler)
    })
  }

  return { send, close: () => pool.destroy() }
}

const unwritable = Object.assign(new Error('a header or the path cannot be written down'), { code: 'ERR_INVALID_CHAR' })

/**
 * HTTP has no way to write a newline in a token. undici would notice too, but counts the socket it had picked as taken
 * from then on: with as many such calls as there are sockets, the pool stands still.
 */
function isWritable(path: string, headers: Readonly<Record<string, string>>): boolean {
  return /^\/[\x21-\x7e]*$/.test(path) && Object.values(headers).every((value) => /^[\x20-\x7e]*$/.test(value))
}

interface Exchange {
  readonly handler: Dispatcher.DispatchHandler
  stop(kind: 'timeout' | 'aborted'): void
}

/** One request and its answer. `done` is called exactly once. */
function createExchange(
  path: string,
  maxBytes: number,
  done: (answer: TransportAnswer | TransportFailure) => void,
): Exchange {
  let controller: Dispatcher.DispatchController | undefined
  let ended = false
  let status = 0
  let bytes = 0
  let retryAfter: string | undefined
  const chunks: Buffer[] = []

  function finish(answer: TransportAnswer | TransportFailure): void {
    if (ended) return
    ended = true
    done(answer)
  }
  function giveUp(kind: FaultKind): void {
    finish(new TransportFailure(kind))
    controller?.abort(new Error(kind))
  }

  return {
    // Before a socket took the request nothing can have been done, whatever ends the wait.
    stop: (kind) => giveUp(controller === undefined ? 'busy' : kind),
    handler: {
      onRequestStart(started) {
        if (ended) return started.abort(new Error('given up'))
        controller = started
      },
      onResponseStart(_, statusCode, headers) {
        status = statusCode
        const value = headers['retry-after']
        retryAfter = typeof value === 'string' ? value : undefined
        if (Number(headers['content-length'] ?? 0) > maxBytes) giveUp('oversized')
      },
      onResponseData(_, chunk) {
        bytes += chunk.length
        if (bytes > maxBytes) giveUp('oversized')
        else chunks.push(chunk)
      },
      onResponseEnd() {
        finish(readAnswer(path, status, chunks, retryAfter))
      },
      onResponseError(_, error) {
        finish(new TransportFailure(controller === undefined ? 'unreachable' : 'lost', error))
      },
    },
  }
}

function readAnswer(
  path: string,
  status: number,
  chunks: readonly Buffer[],
  retryAfter: string | undefined,
): TransportAnswer | TransportFailure {
  const text = chunks.length === 1 && chunks[0] !== undefined ? chunks[0].toString() : Buffer.concat(chunks).toString()
  let body: unknown
  let readable = true
  try {
    body = text === '' ? undefined : JSON.parse(text)
  } catch {
    readable = false
  }
  const succeeded = status === 200 || status === 204
  if (succeeded && !readable) return new TransportFailure('unreadable')
  // Seal status and standby come as a status of their own with the body this route always has.
  if (succeeded || path.includes('/sys/health')) return { statusCode: status, body, request: { path } }
  return { statusCode: status, body: refusedBody(body, retryAfter), request: { path } }
}

function refusedBody(body: unknown, retryAfter: string | undefined): RefusedBody {
  const errors = typeof body === 'object' && body !== null && 'errors' in body ? body.errors : undefined
  const seconds = Number(retryAfter)
  return {
    errors: Array.isArray(errors) ? errors.filter((text) => typeof text === 'string') : [],
    fromVault: Array.isArray(errors),
    retryAfterSeconds: Number.isFinite(seconds) && seconds > 0 ? Math.ceil(seconds) : undefined,
  }
}
