/** Structured logging as the stages see it: an event name and fields that are ids, codes and counts, never secrets. */
export interface Log {
  info(fields: Record<string, unknown>, event: string): void
  warn(fields: Record<string, unknown>, event: string): void
  error(fields: Record<string, unknown>, event: string): void
}

/** A log that drops everything; for commands that print their own output. */
export const silentLog: Log = { info: () => {}, warn: () => {}, error: () => {} }
