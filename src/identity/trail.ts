import type { Reason, Refusal } from '../base/result.ts'
import type { Finding } from './check.ts'
import type { Check, CheckInput } from './checks.ts'

/** A refusal with everything that was looked at on the way to it. */
interface Refused {
  readonly result: { readonly ok: false; readonly refusal: Refusal }
  readonly reasons: readonly Reason[]
}

/** Collects what was looked at, in order. The first finding with a code decides. */
interface Trail {
  readonly reasons: readonly Reason[]
  /** Records findings up to the first that refuses; true when one did. */
  stops(...findings: readonly (Finding | undefined)[]): boolean
  /** The same for checks, which are not run past the first that refuses. */
  stopsAt(checks: readonly Check[], input: CheckInput): boolean
  refuse(finding: Finding): Refused
  /** What the last recorded finding amounts to. */
  refusal(): Refused
}

// What an entry of the ledger takes for one rule.
const longestDetail = 512

export function createTrail(): Trail {
  const reasons: Reason[] = []
  let last: Finding | undefined
  const stops = (...findings: readonly (Finding | undefined)[]): boolean => {
    for (const finding of findings) {
      if (finding === undefined) continue
      last = finding
      reasons.push({ rule: finding.rule, ok: finding.ok, detail: finding.detail.slice(0, longestDetail) })
      if (finding.code !== undefined) return true
    }
    return false
  }
  const refusal = (): Refused => {
    // A trail that ends without a code would be a mistake here; it refuses all the same.
    const { code = 'token_invalid', retryAfterSeconds } = last ?? {}
    const wait = retryAfterSeconds === undefined ? {} : { retryAfterSeconds }
    return { result: { ok: false, refusal: { code, reasons, ...wait } }, reasons }
  }
  return {
    reasons,
    stops,
    stopsAt: (checks, input) => checks.some((check) => stops(check(input))),
    refuse(finding) {
      stops(finding)
      return refusal()
    },
    refusal,
  }
}
