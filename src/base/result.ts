import type { Code } from './codes.ts'

/** One step of an explanation. `rule` names what was looked at; `detail` may hold claim text and stays out of responses. */
export interface Reason {
  readonly rule: string
  readonly ok: boolean
  readonly detail: string
}

/** An expected no: a value, never thrown. `reasons` are for the ledger and for `explain`, not for strangers. */
export interface Refusal {
  readonly code: Code
  readonly reasons: readonly Reason[]
  /** Seconds after which a retry makes sense (429 and 503). */
  readonly retryAfterSeconds?: number
}

/** A value, or the refusal that stands in its place. */
export type Result<T, R = Refusal> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly refusal: R }

/** Wraps a value as a success. */
export const ok = <T>(value: T): { readonly ok: true; readonly value: T } => ({ ok: true, value })

/** A refusal with one failed reason, and with the time after which to ask again where that is known. */
export function refuse(
  code: Code,
  rule: string,
  detail: string,
  retryAfterSeconds?: number,
): { readonly ok: false; readonly refusal: Refusal } {
  const wait = retryAfterSeconds === undefined ? {} : { retryAfterSeconds }
  return { ok: false, refusal: { code, reasons: [{ rule, ok: false, detail }], ...wait } }
}
