import { type Attributes, context, trace as otel, SpanStatusCode } from '@opentelemetry/api'

/** Runs one stage: inside a span of its name, and timed. */
export type Trace = <T>(stage: string, attributes: Attributes, run: () => Promise<T>) => Promise<T>

/**
 * Makes the wrapper that stages run in, so that no stage holds span code. `observe` is told how long each stage took, in
 * seconds. Attributes are ids and codes, never claims or secrets; of a fault only its code is put on the span, because
 * messages of foreign errors may quote what they were given.
 */
export function createTrace(observe: (stage: string, seconds: number) => void = () => {}): Trace {
  const tracer = otel.getTracer('writ')
  async function timed<T>(stage: string, run: () => Promise<T>): Promise<T> {
    const startedMs = performance.now()
    try {
      return await run()
    } finally {
      observe(stage, (performance.now() - startedMs) / 1000)
    }
  }
  return (stage, attributes, run) => {
    // Below a span that nobody records, no other is recorded. A stage that is not runs where it is and is only timed.
    if (otel.getActiveSpan()?.isRecording() === false) return timed(stage, run)
    const span = tracer.startSpan(stage, { attributes })
    if (!span.isRecording()) return timed(stage, run)
    return context.with(otel.setSpan(context.active(), span), async () => {
      try {
        return await timed(stage, run)
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? String(error.code) : 'internal'
        span.setStatus({ code: SpanStatusCode.ERROR, message: code })
        throw error
      } finally {
        span.end()
      }
    })
  }
}

/** The W3C trace id of the span this call runs in, or `undefined` when nothing traces. */
export function currentTraceId(): string | undefined {
  const id = otel.getActiveSpan()?.spanContext().traceId
  return id === undefined || /^0+$/.test(id) ? undefined : id
}
