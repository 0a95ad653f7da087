import { parseStrictJson } from '../base/json.ts'
import type { Claims } from './identity.ts'

/** Greatest length of a token, in characters; each is one byte on the wire. */
export const maxTokenLength = 16 * 1024

// Far above what any platform puts into a token, far below what could cost something.
const headerBounds = { maxDepth: 4, maxMembers: 64 }
const claimsBounds = { maxDepth: 10, maxMembers: 1000 }

/** A token taken apart. Nothing in it is proved yet: header and claims are the text of whoever sent it. */
export interface UnverifiedToken {
  readonly header: Claims
  readonly claims: Claims
  /** `header.payload` as signed (RFC 7515 section 5.2). */
  readonly signedPart: string
}

/** Why the token cannot be taken apart, as a sentence that quotes nothing of it. */
export interface Malformed {
  readonly problem: string
}

/**
 * Takes a JWS in compact form apart (RFC 7515 section 7.1). Each part must be the one base64url text of its bytes, UTF-8
 * without a byte order mark, and strict JSON, so that no other reader of the same token sees other claims.
 */
export function takeApart(token: string): UnverifiedToken | Malformed {
  const [header, payload, signature, ...more] = token.split('.', 4)
  if (header === undefined || payload === undefined || signature === undefined || more.length > 0) {
    return { problem: 'it is not three parts joined by dots' }
  }
  if (!isCanonicalBase64url(signature) || signature === '') return { problem: 'its signature is not base64url' }
  const headerFields = readPart(header, 'header', headerBounds)
  if (isMalformed(headerFields)) return headerFields
  const claims = readPart(payload, 'payload', claimsBounds)
  if (isMalformed(claims)) return claims
  return { header: headerFields.fields, claims: claims.fields, signedPart: `${header}.${payload}` }
}

/** Tells the two outcomes of {@link takeApart} apart. */
export const isMalformed = (part: object): part is Malformed => 'problem' in part

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

// Decoders ignore the spare bits of the last character, so that several texts stand for the same bytes.
// Encoding again leaves one.
const isCanonicalBase64url = (part: string): boolean => Buffer.from(part, 'base64url').toString('base64url') === part

function readPart(
  part: string,
  name: string,
  bounds: { maxDepth: number; maxMembers: number },
): { readonly fields: Claims } | Malformed {
  const bytes = Buffer.from(part, 'base64url')
  if (bytes.toString('base64url') !== part) return { problem: `its ${name} is not base64url` }
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    return { problem: `its ${name} is not UTF-8` }
  }
  const parsed = parseStrictJson(text, bounds)
  if (!parsed.ok) return { problem: `its ${name} cannot be read: ${parsed.refusal.text}` }
  const fields = parsed.value
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    return { problem: `its ${name} is not a JSON object` }
  }
  return { fields: fields as Claims }
}
