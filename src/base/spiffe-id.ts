/** A SPIFFE ID taken apart (SPIFFE-ID section 2). */
export interface SpiffeId {
  readonly trustDomain: string
  /** Segments of the path; none in the ID of a trust domain itself. */
  readonly path: readonly string[]
}

// In bytes, which are characters: it is ASCII (SPIFFE-ID section 2.3).
const maxSpiffeIdLength = 2048

const scheme = 'spiffe://'
const domain = /^[a-z0-9._-]{1,255}$/
const segment = /^[a-zA-Z0-9._-]+$/

/** Whether this is the name of a trust domain (SPIFFE-ID section 2.1). */
export const isTrustDomain = (text: string): boolean => domain.test(text)

/** Whether this may stand between two slashes of the path (SPIFFE-ID section 2.2): not empty, and no dots alone. */
export const isSpiffeSegment = (text: string): boolean => segment.test(text) && text !== '.' && text !== '..'

/** Reads a SPIFFE ID; `undefined` when the text is not exactly one. */
export function parseSpiffeId(text: string): SpiffeId | undefined {
  if (text.length > maxSpiffeIdLength || !text.startsWith(scheme)) return undefined
  const [trustDomain = '', ...path] = text.slice(scheme.length).split('/')
  return isTrustDomain(trustDomain) && path.every(isSpiffeSegment) ? { trustDomain, path } : undefined
}
