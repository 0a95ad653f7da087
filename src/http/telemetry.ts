import { context, propagation, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import type { Resource } from '@opentelemetry/resources'
import type { Sampler, SpanExporter } from '@opentelemetry/sdk-trace'

/** Where spans go. */
export type SpanSink =
  | { readonly kind: 'none' }
  /** OTLP over HTTP; the exporter reads `OTEL_EXPORTER_OTLP_*` with their usual meaning. */
  | { readonly kind: 'otlp' }
  /** Anything else that takes spans, one by one as they end. */
  | { readonly kind: 'exporter'; readonly exporter: SpanExporter }

export interface TelemetryOptions {
  readonly sink: SpanSink
  readonly sampler: SamplerChoice
  readonly version: string
}

/** `OTEL_TRACES_SAMPLER` and its argument. */
interface SamplerChoice {
  readonly kind: 'always_on' | 'always_off' | 'traceidratio'
  readonly parentBased: boolean
  readonly ratio: number
}

// What a shutdown may spend on the last spans.
const stopMs = 1_500

const samplerNames = /^(parentbased_)?(always_on|always_off|traceidratio)$/

/**
 * What the environment asks of telemetry, as the OpenTelemetry specification reads it: spans are exported only where
 * an endpoint or `OTEL_TRACES_EXPORTER=otlp` says so, and never under `OTEL_SDK_DISABLED=true` or an exporter of `none`.
 * An unknown sampler is the default one, `parentbased_always_on`.
 */
export function telemetryOptions(env: OtelVariables, version: string): TelemetryOptions {
  const match = samplerNames.exec(env.OTEL_TRACES_SAMPLER ?? '')
  const ratio = Number(env.OTEL_TRACES_SAMPLER_ARG ?? '1')
  return {
    version,
    sink: { kind: asksForOtlp(env, 'TRACES') ? 'otlp' : 'none' },
    sampler: {
      kind: (match?.[2] ?? 'always_on') as SamplerChoice['kind'],
      parentBased: match === null || match[1] !== undefined,
      ratio: ratio >= 0 && ratio <= 1 ? ratio : 1,
    },
  }
}

/** The `OTEL_…` variables that are set. */
export type OtelVariables = Readonly<Record<string, string | undefined>>

/** Whether the environment asks for a signal to be exported over OTLP: by an exporter of that name, or without one by an endpoint. */
export function asksForOtlp(env: OtelVariables, signal: 'TRACES' | 'LOGS'): boolean {
  const named = env[`OTEL_${signal}_EXPORTER`]
  const endpoint = env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`] || env.OTEL_EXPORTER_OTLP_ENDPOINT
  const asked = named === undefined || named === '' ? Boolean(endpoint) : named.split(',').includes('otlp')
  return asked && env.OTEL_SDK_DISABLED?.toLowerCase() !== 'true'
}

/** Ends telemetry: exports what waits, for at most a moment, and gives the global hooks back. Never rejects. */
export interface Telemetry {
  stop(): Promise<void>
}

/**
 * Makes spans of one request belong together and continues the traces of callers (W3C Trace Context), so that log
 * lines and ledger entries name the caller's trace even when nothing is exported. The SDK and the exporter are loaded
 * only when a sink asks for them.
 */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  propagation.setGlobalPropagator(new W3CTraceContextPropagator())
  const stopExport = options.sink.kind === 'none' ? async () => {} : await startExport(options, options.sink)
  return {
    async stop() {
      await stopExport()
      trace.disable()
      propagation.disable()
      context.disable()
    },
  }
}

async function startExport(
  options: TelemetryOptions,
  sink: Exclude<SpanSink, { kind: 'none' }>,
): Promise<() => Promise<void>> {
  const sdk = await import('@opentelemetry/sdk-trace')
  const resource = await resourceOf(options.version)
  const processor =
    sink.kind === 'exporter'
      ? new sdk.SimpleSpanProcessor({ exporter: sink.exporter })
      : new sdk.BatchSpanProcessor({
          exporter: new (await import('@opentelemetry/exporter-trace-otlp-http')).OTLPTraceExporter(),
        })
  const provider = new sdk.TracerProvider({
    resource,
    sampler: samplerOf(sdk, options.sampler),
    spanProcessors: [processor],
    // Attributes are ids and codes; this bound holds even where one is not.
    spanLimits: { attributeValueLengthLimit: 256, attributeCountLimit: 32 },
  })
  trace.setGlobalTracerProvider(provider)
  return () => stopInTime(provider.shutdown())
}

/** Who telemetry says it is from. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win over what we say. */
export async function resourceOf(version: string): Promise<Resource> {
  const resources = await import('@opentelemetry/resources')
  const ours = resources.resourceFromAttributes({ 'service.name': 'writ', 'service.version': version })
  return ours.merge(resources.detectResources({ detectors: [resources.envDetector] }))
}

/**
 * Waits for an exporter to stop, for a moment. A collector that is down must not keep the process from ending well and in time: the
 * exporter would retry for seconds.
 */
export async function stopInTime(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, stopMs)
  })
  await Promise.race([work.catch(() => {}), limit])
  clearTimeout(timer)
}

function samplerOf(sdk: typeof import('@opentelemetry/sdk-trace'), choice: SamplerChoice): Sampler {
  const root =
    choice.kind === 'always_on'
      ? new sdk.AlwaysOnSampler()
      : choice.kind === 'always_off'
        ? new sdk.AlwaysOffSampler()
        : new sdk.TraceIdRatioBasedSampler(choice.ratio)
  return choice.parentBased ? new sdk.ParentBasedSampler({ root }) : root
}
