import { codes } from '../base/codes.ts'
import { BrokerFault } from '../base/errors.ts'
import type { Refusal } from '../base/result.ts'
import type { Problem } from '../contract/problem.ts'
import { proofAlgorithms } from '../identity/proof-key.ts'

/** A problem ready to be written: the body and the headers that belong to its code. */
export interface ProblemReply {
  readonly problem: Problem
  readonly headers: Readonly<Record<string, string>>
}

// A client that hears nothing better waits this long: short where another replica may answer at once.
const defaultRetrySeconds: Partial<Record<string, number>> = {
  limit_reached: 10,
  vault_unavailable: 5,
  ledger_unavailable: 10,
  state_unavailable: 5,
  draining: 1,
}

/** The documentation link of a code: the `type` of its problems. */
const problemType = (docsUrlBase: string, code: string): string => `${docsUrlBase}/docs/errors#${code}`

/**
 * The answer to a refusal (RFC 9457): the code's public text and the names of the rules that failed, never what they
 * were compared with. A caller whose token was not accepted is told the code alone.
 */
export function problemOf(refusal: Refusal, requestId: string, docsUrlBase: string): ProblemReply {
  const text = codes[refusal.code]
  const silent = text.status === 401 || text.status === 404
  return {
    problem: {
      type: problemType(docsUrlBase, refusal.code),
      title: text.title,
      status: text.status,
      code: refusal.code,
      detail: text.detail,
      fix: text.fix,
      request_id: requestId,
      reasons: silent ? [] : refusal.reasons.filter((reason) => !reason.ok).map((reason) => reason.rule),
    },
    headers: headersOf(refusal),
  }
}

/** The refusal that stands for something thrown: its own code for a `BrokerFault`, `internal` for anything else. */
export function refusalOfFault(thrown: unknown): Refusal {
  if (!(thrown instanceof BrokerFault)) return { code: 'internal', reasons: [] }
  return thrown.retryAfterSeconds === undefined
    ? { code: thrown.code, reasons: [] }
    : { code: thrown.code, reasons: [], retryAfterSeconds: thrown.retryAfterSeconds }
}

function headersOf(refusal: Refusal): Record<string, string> {
  const { status, title } = codes[refusal.code]
  if (status === 401) {
    if (refusal.code === 'proof_invalid') {
      // RFC 9449 section 7.1.
      const challenge = `DPoP realm="writ", algs="${proofAlgorithms.join(' ')}"`
      return { 'www-authenticate': `${challenge}, error="invalid_dpop_proof", error_description="${title}"` }
    }
    // RFC 6750 section 3.1: a request without a token is told the scheme and no error.
    const missing = refusal.code === 'token_missing'
    const challenge = 'Bearer realm="writ"'
    return {
      'www-authenticate': missing ? challenge : `${challenge}, error="invalid_token", error_description="${title}"`,
    }
  }
  if (status !== 429 && status !== 503) return {}
  const seconds = refusal.retryAfterSeconds ?? defaultRetrySeconds[refusal.code] ?? 1
  return { 'retry-after': String(Math.max(1, Math.ceil(seconds))) }
}
