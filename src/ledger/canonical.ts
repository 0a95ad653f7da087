import canonicalize from 'canonicalize'

/**
 * The canonical JSON text of a value: sorted keys, no spaces, ECMAScript numbers. One value has exactly one such text, so a
 * hash over its UTF-8 bytes names the value.
 * @throws Error when the value has no canonical form (non-finite number, lone surrogate, cycle, `undefined`); the
 * message never quotes the value.
 * @see RFC 8785
 */
export function canonicalJson(value: unknown): string {
  const text = canonicalize(value)
  if (text === undefined) throw new Error('undefined has no canonical JSON')
  return text
}

/** Whether `text` is the canonical form of what it parses to. `value` must be `JSON.parse(text)`. */
export function isCanonical(text: string, value: unknown): boolean {
  // Numbers and strings of RFC 8785 are those of JSON.stringify, so a text that survives the round trip and whose keys
  // are in order is canonical. Only an escaped lone surrogate survives it wrongly; such texts take the long way.
  if (!text.includes('\\ud') && JSON.stringify(value) === text && keysInOrder(value)) return true
  try {
    return canonicalJson(value) === text
  } catch {
    return false
  }
}

function keysInOrder(value: unknown): boolean {
  if (value === null || typeof value !== 'object') return true
  if (Array.isArray(value)) return value.every(keysInOrder)
  let last = ''
  for (const [key, inner] of Object.entries(value)) {
    // The comparison of JavaScript strings is by UTF-16 code units, as RFC 8785 §3.2.3 asks.
    if (key < last || !keysInOrder(inner)) return false
    last = key
  }
  return true
}
