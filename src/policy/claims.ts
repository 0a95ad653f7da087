import type { Claims } from '../identity/identity.ts'

/** The claims a compact JWT says it has. Nobody signed for them as far as this function knows: for `explain` only. */
export function decodeUnverified(token: string): Claims | undefined {
  const parts = token.split('.')
  if (parts.length !== 3 || token.length > 16_384) return undefined
  try {
    const value: unknown = JSON.parse(Buffer.from(parts[1] ?? '', 'base64url').toString('utf8'))
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Claims) : undefined
  } catch {
    return undefined
  }
}
