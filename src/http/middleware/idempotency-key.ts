import { ok, type Result, refuse } from '../../base/result.ts'

/** The longest key that is read. */
export const maxKeyLength = 255

/**
 * The key of a request that its caller may send again. It is taken as it stands, quotes included: the draft's structured string and a
 * bare one are both just visible ASCII here. Refuses `request_invalid` for anything else, several keys among it.
 * @see draft-ietf-httpapi-idempotency-key-header section 2.1
 */
export function readIdempotencyKey(header: string | undefined): Result<string | undefined> {
  if (header === undefined) return ok(undefined)
  if (header === '' || header.length > maxKeyLength || !isVisible(header)) {
    return refuse('request_invalid', 'idempotency_key', `1 to ${maxKeyLength} visible ASCII characters`)
  }
  return ok(header)
}

function isVisible(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x21 || code > 0x7e) return false
  }
  return true
}
