import type { Code } from '../base/codes.ts'
import type { Reason } from '../base/result.ts'

/** What one check found. A `code` says that the token is refused with it; without one the check passed. */
export interface Finding extends Reason {
  readonly code?: Code
  /** Seconds after which the same token may fare better. */
  readonly retryAfterSeconds?: number
}

/** A check that was passed. */
export const passed = (rule: string, detail: string): Finding => ({ rule, ok: true, detail })

/** A check that refuses the token. */
export const failed = (code: Code, rule: string, detail: string): Finding => ({ rule, ok: false, detail, code })

const longestShown = 120

/**
 * Claim or header text as a reason may show it: quoted, cut to 120 characters, with control characters, direction marks and
 * line separators written as escapes, so that it can neither break a line nor turn one around.
 */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object'
  const text = typeof value === 'string' ? value : String(value)
  const cut = text.length > longestShown ? `${text.slice(0, longestShown)}…` : text
  const plain = cut
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}"\\]/gu, (unit) => `\\u{${(unit.codePointAt(0) ?? 0).toString(16)}}`)
  return typeof value === 'string' ? `"${plain}"` : plain
}
