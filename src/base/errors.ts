import { type Code, codes } from './codes.ts'

/**
 * A fault: something the broker depends on failed, or a caller inside the process broke a rule.
 * `message` is for operators and must never hold a secret, a token or a response body.
 */
export class BrokerFault extends Error {
  readonly code: Code
  readonly retryAfterSeconds: number | undefined

  constructor(code: Code, message?: string, options?: { cause?: unknown; retryAfterSeconds?: number }) {
    super(message ?? codes[code].detail, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'BrokerFault'
    this.code = code
    this.retryAfterSeconds = options?.retryAfterSeconds
  }
}

/** The message of anything thrown, without assuming that it is an Error. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}
