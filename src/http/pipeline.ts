import type { Context } from 'hono'
import type { Clock } from '../base/clock.ts'
import type { Code } from '../base/codes.ts'
import { type GrantId, newId, type RequestId } from '../base/ids.ts'
import type { Log } from '../base/log.ts'
import { type Refusal, type Result, refuse } from '../base/result.ts'
import { currentTraceId } from '../base/trace.ts'
import { cutConnection, type Env, hasUnreadBody, incomingOf, watchDelivery } from './incoming.ts'
import type { Limits } from './limits.ts'
import { describeThrown } from './log.ts'
import type { Metrics } from './metrics.ts'
import { withDeadline } from './middleware/deadline.ts'
import { createGate } from './middleware/gate.ts'
import { securityHeaders } from './middleware/headers.ts'
import { createServerSpan } from './middleware/span.ts'
import { createStreams } from './middleware/streams.ts'
import { problemOf, refusalOfFault } from './problem.ts'
import type { Reply, TextStream } from './reply.ts'
import type { Incoming, Route } from './route.ts'

export interface PipelineDeps {
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  readonly limits: Limits
  readonly docsUrlBase: string
  /** Aborted when no more work is taken. */
  readonly draining: AbortSignal
  /** Called when a secret was minted and its caller cannot get it: too late, or the connection is gone. */
  onUndelivered(grant: GrantId): void
}

/** What every request passes through, whatever its route. */
export interface Pipeline {
  serve(route: Route): (c: Context<Env>) => Promise<Response>
  /** Answers a request no route takes with the problem of that code; `label` stands for the route in metrics and logs. */
  refuse(label: string, code: Code, headers?: Readonly<Record<string, string>>): (c: Context<Env>) => Promise<Response>
  /** Answers what was thrown past every route. */
  fail(thrown: unknown, c: Context<Env>): Promise<Response>
}

// Methods and routes label metrics and log lines, so both come from short lists.
const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/**
 * One request from headers to log line: span, gate, deadline, route, response, metrics, log. It is one function and
 * not a stack of middleware because the most common answer is a refusal, which has to cost microseconds.
 * Whatever is thrown becomes a problem; the framework's own error page is never seen.
 */
export function createPipeline(deps: PipelineDeps): Pipeline {
  const { clock, limits, log, draining } = deps
  const gate = createGate(limits.maxInFlight, () => draining.aborted)
  const urgent = createGate(limits.maxUrgentInFlight, () => draining.aborted)
  const streams = createStreams({ clock, max: limits.maxStreams, stallMs: limits.streamStallMs, draining })
  const commonHeaders = securityHeaders(deps.docsUrlBase)
  const inServerSpan = createServerSpan()

  const attempt = async (route: Route, incoming: Incoming): Promise<Result<Reply>> => {
    try {
      return await route.answer(incoming)
    } catch (thrown) {
      log.error({ request_id: incoming.requestId, route: route.path, ...describeThrown(thrown) }, 'fault')
      return { ok: false, refusal: refusalOfFault(thrown) }
    }
  }

  const gated = (route: Route, incoming: Incoming): Promise<Result<Reply>> | Result<Reply> => {
    if (route.access === 'probe') return attempt(route, incoming)
    const places = route.streams ? streams : route.urgent ? urgent : gate
    const place = places.enter()
    if (!place.ok) return place
    // The place is given back when the work has ended, not when its caller stopped waiting; a stream holds it on.
    const work = attempt(route, incoming).then((outcome) => {
      if (!isStream(outcome)) places.leave()
      return outcome
    })
    const expired = (): Result<Reply> => refuse('draining', 'the request took too long', 'deadline')
    return withDeadline(clock, route.bulk ? limits.bulkRequestMs : limits.requestMs, work, expired, (late) => {
      if (isStream(late)) places.leave()
      if (late.ok) for (const grant of late.value.carries ?? []) deps.onUndelivered(grant)
    })
  }

  const respond = (c: Context<Env>, asked: Asked, outcome: Result<Reply>): Response => {
    const reply = outcome.ok ? outcome.value : problemReply(outcome.refusal, asked, deps.docsUrlBase)
    const headers = commonHeaders(asked.requestId)
    headers['content-type'] = reply.type
    if (reply.headers !== undefined) Object.assign(headers, reply.headers)
    if (draining.aborted || (!outcome.ok && hasUnreadBody(c))) headers.connection = 'close'
    observe(c, asked, reply.status, outcome.ok ? 'ok' : outcome.refusal.code)
    if (reply.carries !== undefined) watchDelivery(c, reply.carries, deps.onUndelivered)
    if (typeof reply.body === 'function') {
      return new Response(startStream(c, asked, reply.body), { status: reply.status, headers })
    }
    // Said here, so that the answer to a HEAD says it too.
    if (typeof reply.body !== 'string') headers['content-length'] = String(reply.body.length)
    // Bytes come from a disk or were made here: no other thread shares their memory.
    const body = reply.body as string | Uint8Array<ArrayBuffer>
    return new Response(body === '' ? null : body, { status: reply.status, headers })
  }

  const startStream = (c: Context<Env>, asked: Asked, source: TextStream): ReadableStream<Uint8Array> | null => {
    if (c.req.raw.method === 'HEAD') {
      streams.leave()
      return null
    }
    const cut = (): void => cutConnection(c)
    return streams.start(source, cut, (end, thrown) => {
      const fields = { request_id: asked.requestId, route: asked.label, end }
      if (thrown !== undefined) log.error({ ...fields, ...describeThrown(thrown) }, 'fault')
      log.info({ ...fields, duration_ms: Math.round(performance.now() - asked.startedMs) }, 'stream_ended')
    })
  }

  const observe = (c: Context<Env>, asked: Asked, status: number, code: string): void => {
    const method = knownMethods.has(c.req.method) ? c.req.method : 'OTHER'
    const ms = performance.now() - asked.startedMs
    deps.metrics.request({ route: asked.label, method, status, code, seconds: ms / 1000 })
    const fields: Record<string, unknown> = { request_id: asked.requestId, method, route: asked.label, status, code }
    fields.duration_ms = Math.round(ms * 1000) / 1000
    const trace = currentTraceId()
    if (trace !== undefined) fields.trace_id = trace
    log.info(fields, 'request')
  }

  const asked = (label: string, extra?: Asked['headers']): Asked => ({
    label,
    requestId: newId('rq', clock.now()),
    startedMs: performance.now(),
    headers: extra,
  })

  return {
    serve: (route) => (c) => {
      const request = asked(route.path)
      const incoming = incomingOf(c, request.requestId, limits, clock)
      return inServerSpan(route, incoming, async () => respond(c, request, await gated(route, incoming)))
    },
    refuse: (label, code, headers) => async (c) =>
      respond(c, asked(label, headers), { ok: false, refusal: { code, reasons: [] } }),
    async fail(thrown, c) {
      const request = asked('unmatched')
      log.error({ request_id: request.requestId, ...describeThrown(thrown) }, 'fault')
      return respond(c, request, { ok: false, refusal: refusalOfFault(thrown) })
    },
  }
}

const isStream = (outcome: Result<Reply>): boolean => outcome.ok && typeof outcome.value.body === 'function'

/** What is known of a request before anything in it was looked at. */
interface Asked {
  readonly label: string
  readonly requestId: RequestId
  readonly startedMs: number
  /** Headers that a refusal of this request carries beyond those of its code. */
  readonly headers: Readonly<Record<string, string>> | undefined
}

function problemReply(refusal: Refusal, asked: Asked, docsUrlBase: string): Reply {
  const { problem, headers } = problemOf(refusal, asked.requestId, docsUrlBase)
  return {
    status: problem.status,
    type: 'application/problem+json',
    body: JSON.stringify(problem),
    headers: asked.headers === undefined ? headers : { ...headers, ...asked.headers },
  }
}
