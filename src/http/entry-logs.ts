import {
  type Attributes,
  type Context,
  createContextKey,
  type Logger,
  ROOT_CONTEXT,
  SeverityNumber,
} from '@opentelemetry/api'
import { ExportResultCode } from '@opentelemetry/core'
import type { LogRecordExporter, LogRecordProcessor } from '@opentelemetry/sdk-logs'
import type { Entry } from '../ledger/entry.ts'
import { treatmentOf } from '../ledger/export/redact.ts'
import { type Severity, severityOf } from '../ledger/export/severity.ts'
import type { StoredEntry } from '../ledger/ledger.ts'
import { asksForOtlp, type OtelVariables, resourceOf, stopInTime } from './telemetry.ts'

/** Sends a copy of each durable entry to a collector. Best effort: the ledger is the record, and nothing waits for this. */
export interface EntryLogs {
  /** Takes an entry, or counts it as lost when too many wait already. Never throws, and does next to nothing itself. */
  emit(stored: StoredEntry): void
  /** Entries that no collector took. */
  lost(): number
  /** Exports what waits, for at most a moment. Never rejects. */
  stop(): Promise<void>
}

export interface EntryLogsOptions {
  readonly version: string
  /** Identity of the ledger. */
  readonly origin: string
  /** Where log records go; OTLP over HTTP, by the `OTEL_EXPORTER_OTLP_*` variables, when absent. */
  readonly exporter?: LogRecordExporter
}

/** Entries that may wait for the collector. */
const mostWaiting = 2048

/**
 * Starts sending entries where the environment asks for logs as the OpenTelemetry specification reads it: by an endpoint or
 * `OTEL_LOGS_EXPORTER=otlp`, and never under `OTEL_SDK_DISABLED=true` or an exporter of `none`. Nothing of it is loaded otherwise.
 */
export async function startEntryLogsIfAsked(
  env: OtelVariables,
  options: EntryLogsOptions,
): Promise<EntryLogs | undefined> {
  return asksForOtlp(env, 'LOGS') ? startEntryLogs(options) : undefined
}

export async function startEntryLogs(options: EntryLogsOptions): Promise<EntryLogs> {
  const sdk = await import('@opentelemetry/sdk-logs')
  const exporter = options.exporter ?? new (await import('@opentelemetry/exporter-logs-otlp-http')).OTLPLogExporter()
  let waiting = 0
  let lost = 0
  const counted: LogRecordExporter = {
    export(records, done) {
      exporter.export(records, (result) => {
        waiting -= records.length
        if (result.code !== ExportResultCode.SUCCESS) lost += records.length
        done(result)
      })
    },
    forceFlush: () => exporter.forceFlush(),
    shutdown: () => exporter.shutdown(),
  }
  const provider = new sdk.LoggerProvider({
    resource: await resourceOf(options.version),
    // No more wait than are counted here, so this queue drops none uncounted.
    processors: [inTrace(new sdk.BatchLogRecordProcessor({ exporter: counted, maxQueueSize: mostWaiting }))],
    // Attributes are ids and codes; this bound holds even where one is not.
    logRecordLimits: { attributeValueLengthLimit: 256, attributeCountLimit: 64 },
  })
  const logger = provider.getLogger('writ.ledger', options.version)
  let queued: StoredEntry[] = []

  function drain(): void {
    const entries = queued
    queued = []
    for (const stored of entries) {
      try {
        emitRecord(logger, stored, options.origin)
      } catch {
        // Nothing that goes wrong with a copy may end the broker.
        waiting--
        lost++
      }
    }
  }

  return {
    emit(stored) {
      if (waiting >= mostWaiting) {
        lost++
        return
      }
      waiting++
      // Whoever waits for this entry to be durable comes first.
      if (queued.push(stored) === 1) setImmediate(drain)
    },
    lost: () => lost,
    stop() {
      drain()
      return stopInTime(provider.shutdown())
    },
  }
}

const severities: Readonly<Record<Severity, readonly [SeverityNumber, string]>> = {
  info: [SeverityNumber.INFO, 'INFO'],
  low: [SeverityNumber.INFO2, 'INFO'],
  medium: [SeverityNumber.WARN, 'WARN'],
  high: [SeverityNumber.ERROR, 'ERROR'],
  critical: [SeverityNumber.FATAL, 'FATAL'],
}

function emitRecord(logger: Logger, { index, leafHash, entry }: StoredEntry, origin: string): void {
  const [severityNumber, severityText] = severities[severityOf(entry)]
  logger.emit({
    eventName: `writ.${entry.kind}`,
    timestamp: Date.parse(entry.time),
    severityNumber,
    severityText,
    attributes: {
      'writ.ledger.origin': origin,
      'writ.ledger.index': index,
      'writ.ledger.leaf_hash': leafHash,
      ...attributesOf(entry),
    },
    // Not the context of whoever happens to run now.
    context: ROOT_CONTEXT.setValue(traceKey, entry.trace),
  })
}

/** Ids, and names from the policies. */
const named = new Set([
  ...[
    'workload',
    'owner',
    'purpose',
    'environment',
    'credential',
    'grant',
    'task',
    'approval',
    'revocation',
    'request',
  ],
  ...['engine', 'exception', 'finding'],
])
/** Said otherwise, or too long to say. */
const unsaid = new Set(['v', 'kind', 'time', 'trace', 'statement'])

/** Ids, and codes, counts and hashes: of the rest those fields that even a redacted copy keeps, so that no free text is among them. */
function attributesOf(entry: Entry): Attributes {
  const attributes: Attributes = { 'writ.actor.type': entry.actor.type }
  for (const [name, value] of Object.entries(entry)) {
    if (unsaid.has(name) || (!named.has(name) && treatmentOf(entry.kind, name) !== 'kept')) continue
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
      attributes[`writ.${name}`] = value
    }
  }
  return attributes
}

const traceKey = createContextKey('writ trace id')

/** Puts records into the trace that their entry names. A trace id is all that an entry knows, and the API takes none without a span. */
function inTrace(processor: LogRecordProcessor): LogRecordProcessor {
  return {
    onEmit(record, context?: Context) {
      const traceId = context?.getValue(traceKey)
      if (typeof traceId === 'string') record.spanContext = { traceId, spanId: '', traceFlags: 0 }
      processor.onEmit(record, context)
    },
    forceFlush: (options) => processor.forceFlush(options),
    shutdown: () => processor.shutdown(),
  }
}
