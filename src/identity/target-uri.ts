const unreserved = /^[A-Za-z0-9\-._~]$/
const longest = 2048

/**
 * An http URI after the normalisation of RFC 3986 sections 6.2.2 and 6.2.3, as RFC 9449 section 4.3 asks: scheme and host in lower case,
 * no port that goes without saying, no dot segments, `%` only before what needs it. `undefined` for what is no such URI, and for one with
 * a user, a query or a fragment: `htu` has none (RFC 9449 section 4.2).
 */
export function normalTargetUri(text: string): string | undefined {
  if (text.length > longest || /[?#\s\\]/.test(text) || !/^https?:\/\/[^/]/i.test(text)) return undefined
  if (!URL.canParse(text)) return undefined
  const { origin, pathname, username, password } = new URL(text)
  if (username !== '' || password !== '') return undefined
  return `${origin}${pathname.replace(/%([0-9A-Fa-f]{2})/g, normalTriplet)}`
}

function normalTriplet(triplet: string, hex: string): string {
  const character = String.fromCharCode(Number.parseInt(hex, 16))
  return unreserved.test(character) ? character : triplet.toUpperCase()
}
