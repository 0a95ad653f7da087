import pino from 'pino'
import { BrokerFault } from '../base/errors.ts'
import type { Log } from '../base/log.ts'

type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

export interface LogOptions {
  readonly level?: LogLevel
  /** Where lines go; standard error when absent. */
  readonly write?: (line: string) => void
}

/** A log with a buffer: `flush` before the process ends. */
export interface BufferedLog extends Log {
  flush(): void
}

// Beyond this a reader that has stopped loses lines; the broker does not lose its memory.
const maxBufferedBytes = 16 * 1024 * 1024

// Lines of this long are handed on together: each write costs a thread of the pool some tens of microseconds.
const togetherMs = 25
const togetherCharacters = 16 * 1024

/**
 * One JSON object per line with `time` (RFC 3339), `level`, `event` and the given fields. Lines are written in the
 * background, so that a slow reader of standard error does not slow requests: warnings and errors at once, the rest
 * within 25 ms. An error passed as a field is reduced to what `describeThrown` says of it.
 */
export function createLog(options: LogOptions = {}): BufferedLog {
  const lines = options.write === undefined ? linesToStandardError() : { write: options.write, hand() {}, flush() {} }
  const logger = pino(
    {
      level: options.level ?? 'info',
      base: null,
      messageKey: 'event',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }), log: withoutErrors },
    },
    lines,
  )
  return {
    info: (fields, event) => logger.info(fields, event),
    warn(fields, event) {
      logger.warn(fields, event)
      lines.hand()
    },
    error(fields, event) {
      logger.error(fields, event)
      lines.hand()
    },
    flush: lines.flush,
  }
}

/** Gathers lines for a moment; `hand` ends the moment, `flush` returns when the system has them. */
function linesToStandardError(): { write(line: string): void; hand(): void; flush(): void } {
  const destination = pino.destination({ dest: 2, sync: false, maxLength: maxBufferedBytes })
  let gathered = ''
  let timer: NodeJS.Timeout | undefined
  const hand = (): void => {
    clearTimeout(timer)
    timer = undefined
    if (gathered !== '') destination.write(gathered)
    gathered = ''
  }
  return {
    write(line) {
      gathered += line
      if (gathered.length >= togetherCharacters) hand()
      else timer ??= setTimeout(hand, togetherMs).unref()
    },
    hand,
    flush() {
      hand()
      destination.flushSync()
    },
  }
}

function withoutErrors(fields: Record<string, unknown>): Record<string, unknown> {
  let safe: Record<string, unknown> | undefined
  for (const name in fields) {
    const value = fields[name]
    if (!(value instanceof Error)) continue
    safe ??= { ...fields }
    safe[name] = describeThrown(value)
  }
  return safe ?? fields
}

const errorCode = /^[A-Z][A-Z0-9_]{0,47}$/

/**
 * What may be logged of anything thrown. Our own faults were written for operators, so their message stays; a message
 * of foreign code may quote what it was given, so only its class, its system code and the frames of its stack remain.
 */
export function describeThrown(thrown: unknown): Record<string, unknown> {
  if (thrown instanceof BrokerFault) {
    const cause = thrown.cause === undefined ? {} : { cause: describeThrown(thrown.cause) }
    return { code: thrown.code, fault: thrown.message, ...cause }
  }
  if (!(thrown instanceof Error)) return { error: typeof thrown }
  const code =
    'code' in thrown && typeof thrown.code === 'string' && errorCode.test(thrown.code) ? thrown.code : undefined
  return {
    error: thrown.constructor.name,
    ...(code === undefined ? {} : { error_code: code }),
    stack: framesOf(thrown),
  }
}

function framesOf(error: Error): string[] {
  const stack = error.stack ?? ''
  // The message comes first and may itself look like frames; everything up to its end is dropped.
  const after = error.message === '' ? 0 : stack.lastIndexOf(error.message) + error.message.length
  const isFrame = /^ {4}at [^\n]{1,300}$/
  return stack
    .slice(Math.max(0, after))
    .split('\n')
    .filter((line) => isFrame.test(line))
    .slice(0, 12)
    .map((line) => line.trim())
}
