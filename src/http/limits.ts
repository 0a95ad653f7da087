/** What one request may cost the process. */
export interface Limits {
  readonly maxBodyBytes: number
  readonly maxTokenBytes: number
  /** Requests in work at once; one more is refused, never queued. Probes and metrics do not count. */
  readonly maxInFlight: number
  /** The same for requests that end secrets, counted apart. */
  readonly maxUrgentInFlight: number
  /** A body must have arrived this long after its headers. */
  readonly bodyMs: number
  /** The caller has an answer this long after its headers. */
  readonly requestMs: number
  /** The same for verbs that end many grants and wait for Vault on each. */
  readonly bulkRequestMs: number
  /** Streams at once; one more is refused. They do not count among the requests in work. */
  readonly maxStreams: number
  /** A stream whose reader takes nothing for this long is cut. */
  readonly streamStallMs: number
  /** A stream that has nothing to say sends a sign of life this often. */
  readonly streamBeatMs: number
}

export const defaultLimits: Limits = {
  maxBodyBytes: 64 * 1024,
  maxTokenBytes: 16 * 1024,
  maxInFlight: 512,
  maxUrgentInFlight: 256,
  bodyMs: 10_000,
  requestMs: 60_000,
  bulkRequestMs: 600_000,
  maxStreams: 64,
  streamStallMs: 30_000,
  streamBeatMs: 15_000,
}
