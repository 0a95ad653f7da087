import { type Finding, failed, shown } from '../check.ts'
import type { Claims } from '../identity.ts'

/** The first claim that is there and says something else than `sub` does; `undefined` when there is none. */
export function disagreement(
  rule: string,
  saidBySub: Readonly<Record<string, string>>,
  claims: Claims,
  isSame: (a: string, b: string) => boolean = (a, b) => a === b,
): Finding | undefined {
  for (const [claim, value] of Object.entries(saidBySub)) {
    const given = claims[claim]
    if (given === undefined || (typeof given === 'string' && isSame(given, value))) continue
    return failed('token_invalid', rule, `sub says ${claim} ${shown(value)}, the claim ${shown(given)}`)
  }
  return undefined
}

/** Claims that must be there, as text that `isForm` takes. */
export function malformed(
  rule: string,
  names: readonly string[],
  claims: Claims,
  isForm: (text: string) => boolean,
): Finding | undefined {
  const wrong = names.find((name) => {
    const value = claims[name]
    return !(typeof value === 'string' && isForm(value))
  })
  return wrong === undefined
    ? undefined
    : failed('token_invalid', rule, `${wrong} is not of its form: ${shown(claims[wrong])}`)
}

/** A UUID (RFC 9562 section 4) in the lower case that platforms write it in. */
export const isUuid = (text: unknown): text is string =>
  typeof text === 'string' && /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)
