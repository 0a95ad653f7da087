import { ok, type Result, refuse } from '../../base/result.ts'

const scheme = /^(bearer|dpop) +/i
// RFC 6750 section 2.1, b64token.
const tokenForm = /^[A-Za-z0-9\-._~+/]+=*$/

/** A token as it was presented. */
interface Presented {
  readonly token: string
  /** The scheme says that a proof comes with it (RFC 9449 section 7.1). */
  readonly withProof: boolean
}

/**
 * The token of an `Authorization` header (RFC 6750 section 2.1, RFC 9449 section 7.1), unverified. Never read from a query or a body.
 * Refuses with `token_missing`, `token_invalid`, or `too_large`.
 */
export function bearerToken(header: string | undefined, maxBytes: number): Result<Presented> {
  if (header === undefined || header === '') return refuse('token_missing', 'authorization', 'no Authorization header')
  const match = scheme.exec(header)
  if (match === null) return refuse('token_missing', 'authorization', 'the scheme is neither Bearer nor DPoP')
  const token = header.slice(match[0].length)
  if (token.length > maxBytes) return refuse('too_large', `token: more than ${maxBytes} bytes`, `${token.length} bytes`)
  if (!tokenForm.test(token)) return refuse('token_invalid', 'authorization', 'not a bearer token by its alphabet')
  return ok({ token, withProof: match[1]?.toLowerCase() === 'dpop' })
}
