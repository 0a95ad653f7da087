import canonicalize from 'canonicalize'

/**
 * The canonical JSON text of a value: sorted keys, no spaces, ECMAScript numbers. One value has exactly one such text, so a
 * hash over its UTF-8 bytes names the value.
 * @throws Error when the value has no canonical form (non-finite number, lone surrogate, cycle, `undefined`); the
 * message never quotes the value.
 * @see RFC 8785
 */
export function canonicalJson(value: unknown): string {
  // RFC 8785 writes strings and numbers as JSON.stringify does, so where the keys are in order already that is all there is to
  // do, some seven times as fast as writing the text by hand. Everything else, and escaped surrogates, go the long way.
  const fast = isInOrder(value) ? JSON.stringify(value) : undefined
  if (fast !== undefined && !fast.includes('\\ud')) return fast
  const text = canonicalize(value)
  if (text === undefined) throw new Error('undefined has no canonical JSON')
  return text
}

/** Whether JSON has a form for everything in the value, and the keys of each object follow one another as they must. */
function isInOrder(value: unknown): boolean {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || 'toJSON' in value) return false
  if (Array.isArray(value)) {
    for (const item of value) if (!isInOrder(item)) return false
    return true
  }
  let last = ''
  for (const key of Object.keys(value)) {
    // The comparison of JavaScript strings is by UTF-16 code units, as RFC 8785 §3.2.3 asks.
    if (key < last) return false
    last = key
    const field: unknown = Reflect.get(value, key)
    if (field !== undefined && !isInOrder(field)) return false
  }
  return true
}

/** Whether `text` is the canonical form of what it parses to. `value` must be `JSON.parse(text)`. */
export function isCanonical(text: string, value: unknown): boolean {
  try {
    return canonicalJson(value) === text
  } catch {
    return false
  }
}
