import type { IssuerPolicy } from '../policy/issuer.ts'
import type { Claim, Claims } from './identity.ts'

/**
 * The environment a token may act in: the one the Issuer fixes, or the one its claim maps to.
 * `undefined` when the Issuer says nothing, the claim is absent or not text, or its text is not mapped.
 */
export function environmentOf(source: IssuerPolicy['environment'], claims: Claims): string | undefined {
  if (source === undefined || typeof source === 'string') return source
  const value = claimAt(claims, source.claim)
  return typeof value === 'string' && Object.hasOwn(source.map, value) ? source.map[value] : undefined
}

/**
 * The claim at a dotted path. Names may hold dots themselves (`kubernetes.io.namespace`): at each step the longest name that
 * is there wins, so that one path always means one claim.
 */
export function claimAt(claims: Claims, path: string): Claim | undefined {
  let value: Claim = claims
  let rest = path
  for (;;) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    const fields = value as Claims
    let end = rest.length
    while (end > 0 && !Object.hasOwn(fields, rest.slice(0, end))) end = rest.lastIndexOf('.', end - 1)
    if (end <= 0) return undefined
    value = fields[rest.slice(0, end)] ?? null
    if (end === rest.length) return value
    rest = rest.slice(end + 1)
  }
}
