/** What one request may cost the process. */
export interface Limits {
  readonly maxBodyBytes: number
  readonly maxTokenBytes: number
  /** Requests in work at once; one more is refused, never queued. Probes and metrics do not count. */
  readonly maxInFlight: number
  /** A body must have arrived this long after its headers. */
  readonly bodyMs: number
  /** The caller has an answer this long after its headers. */
  readonly requestMs: number
  /** The same for verbs that end many grants and wait for Vault on each. */
  readonly bulkRequestMs: number
}

export const defaultLimits: Limits = {
  maxBodyBytes: 64 * 1024,
  maxTokenBytes: 16 * 1024,
  maxInFlight: 512,
  bodyMs: 10_000,
  requestMs: 60_000,
  bulkRequestMs: 600_000,
}
