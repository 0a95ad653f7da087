import type { z } from 'zod'
import type { Reason, Refusal } from '../../base/result.ts'

const maxIssues = 16
// Names that could be a mistyped field are shown; anything else a caller put where a name goes might be a secret.
const plainName = /^[A-Za-z_]{1,32}$/

const shown = (part: PropertyKey): string =>
  typeof part === 'number' ? String(part) : typeof part === 'string' && plainName.test(part) ? part : '…'

const fieldOf = (path: readonly PropertyKey[], root: string): string =>
  path.length === 0 ? root : path.map(shown).join('.')

function textOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'unrecognized_keys') return issue.message
  const names = issue.keys
    .slice(0, maxIssues)
    .map((key) => (plainName.test(key) ? `"${key}"` : 'a name that is not shown'))
  return `unknown ${names.length === 1 ? 'field' : 'fields'} ${names.join(', ')}`
}

/**
 * One failed reason per issue, `field: what it must be`, so that a caller can repair the request.
 * Values are never repeated: zod's messages hold expectations only, and odd names are hidden.
 */
export function invalid(error: z.ZodError, root: string): { readonly ok: false; readonly refusal: Refusal } {
  const reasons: Reason[] = error.issues.slice(0, maxIssues).map((issue) => ({
    rule: `${fieldOf(issue.path, root)}: ${textOf(issue)}`,
    ok: false,
    detail: issue.code,
  }))
  return { ok: false, refusal: { code: 'request_invalid', reasons } }
}
