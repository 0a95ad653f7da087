import { type Attributes, trace as otel, SpanStatusCode } from '@opentelemetry/api'

const tracer = otel.getTracer('writ')

/**
 * Runs `run` inside a span named after its stage. Attributes are ids and codes, never claims or secrets.
 * Only the code of a fault is put on the span: messages of foreign errors may quote what they were given.
 */
export function trace<T>(stage: string, attributes: Attributes, run: () => Promise<T>): Promise<T> {
  return tracer.startActiveSpan(stage, { attributes }, async (span) => {
    try {
      return await run()
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'internal'
      span.setStatus({ code: SpanStatusCode.ERROR, message: code })
      throw error
    } finally {
      span.end()
    }
  })
}

/** The W3C trace id of the span this call runs in, or `undefined` when nothing traces. */
export function currentTraceId(): string | undefined {
  const id = otel.getActiveSpan()?.spanContext().traceId
  return id === undefined || /^0+$/.test(id) ? undefined : id
}
