import type { Claim, Claims } from './identity.ts'

/** A claim within a claim; `undefined` where there is none. Never reads inherited properties. */
export function member(value: Claim | undefined, name: string): Claim | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const fields = value as Claims
  return Object.hasOwn(fields, name) ? fields[name] : undefined
}
