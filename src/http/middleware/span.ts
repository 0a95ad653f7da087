import {
  context,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  trace,
} from '@opentelemetry/api'
import type { Incoming, Route } from '../route.ts'

// Only `traceparent` is read. `tracestate` and baggage are free text of a stranger, and would be exported with spans.
const traceparentOnly: TextMapGetter<Incoming> = {
  keys: () => ['traceparent'],
  get: (incoming, name) => (name === 'traceparent' ? incoming.header(name) : undefined),
}

/** Runs a request inside its server span. */
export type ServerSpan = (route: Route, incoming: Incoming, run: () => Promise<Response>) => Promise<Response>

/**
 * Server spans that continue the caller's trace (W3C Trace Context), so that the stages' spans hang below them.
 * Attributes are the route's pattern, the status and our request id: nothing the caller wrote.
 */
export function createServerSpan(): ServerSpan {
  const tracer = trace.getTracer('writ')
  return (route, incoming, run) => {
    const parent = propagation.extract(ROOT_CONTEXT, incoming, traceparentOnly)
    const method = route.method.toUpperCase()
    const attributes = {
      'http.request.method': method,
      'http.route': route.path,
      'writ.request_id': incoming.requestId,
    }
    const span = tracer.startSpan(`${method} ${route.path}`, { kind: SpanKind.SERVER, attributes }, parent)
    // Nobody records and the caller traces nothing: there is no trace to run in.
    if (!isSpanContextValid(span.spanContext())) return run()
    return context.with(trace.setSpan(parent, span), async () => {
      try {
        const response = await run()
        span.setAttribute('http.response.status_code', response.status)
        if (response.status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
        return response
      } finally {
        span.end()
      }
    })
  }
}
