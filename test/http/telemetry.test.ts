import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { InMemorySpanExporter } from '@opentelemetry/sdk-trace'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ok, refuse } from '../../src/base/result.ts'
import { createTrace, currentTraceId } from '../../src/base/trace.ts'
import { type SpanSink, startTelemetry, telemetryOptions } from '../../src/http/telemetry.ts'
import { granted, grantId, send, testApp, token } from './harness.ts'

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const traceparent = `00-${traceId}-00f067aa0ba902b7-01`

async function started(sink: SpanSink, env: Record<string, string> = {}): Promise<void> {
  const telemetry = await startTelemetry({ ...telemetryOptions(env, '1.0.0'), sink })
  onTestFinished(() => telemetry.stop())
}

async function recording(env: Record<string, string> = {}): Promise<InMemorySpanExporter> {
  const exporter = new InMemorySpanExporter()
  await started({ kind: 'exporter', exporter }, env)
  return exporter
}

describe('traces', () => {
  test('a request is a server span named after its route, with its stages below it', async () => {
    const exporter = await recording()
    const { app } = testApp({ issue: () => createTrace()('policy.decide', {}, granted) })
    const response = await send(app, 'POST', '/v1/credentials', { purpose: 'read-orders' })
    const [stage, server] = exporter.getFinishedSpans()
    expect(server?.name).toBe('POST /v1/credentials')
    expect(server?.attributes).toEqual({
      'http.request.method': 'POST',
      'http.route': '/v1/credentials',
      'http.response.status_code': 201,
      'writ.request_id': response.headers.get('x-request-id'),
    })
    expect(stage?.name).toBe('policy.decide')
    expect(stage?.parentSpanContext?.spanId).toBe(server?.spanContext().spanId)
    expect(stage?.spanContext().traceId).toBe(server?.spanContext().traceId)
  })

  test('the trace of the caller is continued, into the log line too', async () => {
    const exporter = await recording()
    const { app, log } = testApp({})
    await app.request('/healthz', { headers: { traceparent } })
    const [server] = exporter.getFinishedSpans()
    expect(server?.spanContext().traceId).toBe(traceId)
    expect(server?.parentSpanContext?.spanId).toBe('00f067aa0ba902b7')
    expect(log.lines[0]).toMatchObject({ event: 'request', trace_id: traceId })
  })

  test('the trace of the caller reaches the stages even when nothing is exported', async () => {
    await started({ kind: 'none' })
    let seen: string | undefined
    const { app } = testApp({
      approvals: async () => {
        seen = currentTraceId()
        return ok([])
      },
    })
    await app.request('/v1/approvals', { headers: { traceparent, authorization: `Bearer ${token}` } })
    expect(seen).toBe(traceId)
  })

  test.each([
    '',
    'x',
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    `00-${traceId}-00f067aa0ba902b7`,
    `ff-${traceId}-00f067aa0ba902b7-01`,
    `${traceparent}'--`,
  ])('the traceparent %j is not one and starts no trace of its own making', async (header) => {
    await started({ kind: 'none' })
    const { app, log } = testApp({})
    expect((await app.request('/healthz', { headers: { traceparent: header } })).status).toBe(200)
    expect(log.lines[0]).not.toHaveProperty('trace_id')
  })

  test('requests at the same time keep their traces apart', async () => {
    await started({ kind: 'none' })
    const { app } = testApp({
      async grant(caller) {
        const before = currentTraceId()
        await new Promise<void>((resolve) => setImmediate(resolve))
        const after = currentTraceId()
        return before === after && before === caller.token ? refuse('not_found', 'x', '') : refuse('internal', 'x', '')
      },
    })
    const ids = Array.from({ length: 20 }, (_, i) => (i + 1).toString(16).padStart(32, '0'))
    const ask = async (id: string): Promise<number> => {
      const headers = { traceparent: `00-${id}-00f067aa0ba902b7-01`, authorization: `Bearer ${id}` }
      return (await app.request(`/v1/grants/${grantId}`, { headers })).status
    }
    expect(new Set(await Promise.all(ids.map(ask)))).toEqual(new Set([404]))
  })

  test('a failure marks its span, a refusal does not', async () => {
    const exporter = await recording()
    const { app } = testApp({ approvals: async () => refuse('role_required', 'role', '') })
    await send(app, 'GET', '/v1/approvals')
    await send(app, 'GET', `/v1/grants/${grantId}`)
    expect(exporter.getFinishedSpans().map((span) => span.status.code)).toEqual([0, 2])
  })

  test('a sampler of the environment is obeyed', async () => {
    const exporter = await recording({ OTEL_TRACES_SAMPLER: 'always_off' })
    await testApp({}).app.request('/healthz', { headers: { traceparent } })
    expect(exporter.getFinishedSpans()).toEqual([])
  })

  test('with an endpoint in the environment, spans arrive at a collector over OTLP when telemetry stops', async () => {
    const received: { path: string | undefined; body: string }[] = []
    const collector = createServer(async (request, response) => {
      received.push({ path: request.url, body: Buffer.concat(await request.toArray()).toString() })
      response.end('{}')
    })
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      collector.close()
      collector.closeAllConnections()
    })
    const { port } = collector.address() as AddressInfo
    // The exporter reads its own variables, as the specification has it.
    process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${port}`
    onTestFinished(() => {
      delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT
    })
    const telemetry = await startTelemetry(telemetryOptions(process.env, '1.0.0'))
    await testApp({}).app.request('/healthz')
    await telemetry.stop()
    expect(received).toHaveLength(1)
    expect(received[0]?.path).toBe('/v1/traces')
    expect(received[0]?.body).toContain('GET /healthz')
    expect(received[0]?.body).toContain('"service.name"')
  })

  test('a collector that is down does not keep telemetry from stopping', async () => {
    process.env.OTEL_EXPORTER_OTLP_ENDPOINT = 'http://127.0.0.1:9'
    onTestFinished(() => {
      delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT
    })
    const telemetry = await startTelemetry(telemetryOptions(process.env, '1.0.0'))
    await testApp({}).app.request('/healthz')
    await telemetry.stop()
  })
})

describe('what the environment asks for', () => {
  const endpoint = 'http://collector:4318'
  test.each([
    [{}, 'none'],
    [{ OTEL_SERVICE_NAME: 'x' }, 'none'],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, 'otlp'],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: endpoint }, 'otlp'],
    [{ OTEL_TRACES_EXPORTER: 'otlp' }, 'otlp'],
    [{ OTEL_TRACES_EXPORTER: 'console,otlp' }, 'otlp'],
    [{ OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, 'none'],
    [{ OTEL_SDK_DISABLED: 'true', OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, 'none'],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: '' }, 'none'],
  ] as [Record<string, string>, string][])('%j exports to %s', (env, kind) => {
    expect(telemetryOptions(env, '1').sink.kind).toBe(kind)
  })

  test.each([
    [{}, { kind: 'always_on', parentBased: true, ratio: 1 }],
    [
      { OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.25' },
      { kind: 'traceidratio', parentBased: false, ratio: 0.25 },
    ],
    [{ OTEL_TRACES_SAMPLER: 'parentbased_always_off' }, { kind: 'always_off', parentBased: true, ratio: 1 }],
    [
      { OTEL_TRACES_SAMPLER: 'nonsense', OTEL_TRACES_SAMPLER_ARG: '7' },
      { kind: 'always_on', parentBased: true, ratio: 1 },
    ],
  ] as [Record<string, string>, object][])('%j samples by %j', (env, sampler) => {
    expect(telemetryOptions(env, '1').sampler).toEqual(sampler)
  })
})
