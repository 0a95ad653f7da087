import canonicalize from 'canonicalize'

/**
 * The canonical JSON text of a value: sorted keys, no spaces, ECMAScript numbers. One value has exactly one such text, so a
 * hash over its UTF-8 bytes names the value.
 * @throws Error when the value has no canonical form (non-finite number, lone surrogate, cycle, `undefined`); the
 * message never quotes the value.
 * @see RFC 8785
 */
export function canonicalJson(value: unknown): string {
  // RFC 8785 writes strings and numbers as JSON.stringify does, so putting the keys in order first is all there is to do,
  // three times as fast as writing the text by hand. What that cannot express, and escaped surrogates, go the long way.
  const ordered = inOrder(value)
  const fast = ordered === unordered ? undefined : JSON.stringify(ordered)
  if (fast !== undefined && !fast.includes('\\ud')) return fast
  const text = canonicalize(value)
  if (text === undefined) throw new Error('undefined has no canonical JSON')
  return text
}

const unordered = Symbol()
// Objects of one shape have their keys in one order; sorting each shape once is most of the gain.
const orders = new Map<string, readonly string[] | undefined>()
const mostOrders = 4096

/** A copy with keys in order, or `unordered` when a copy cannot have them so. */
function inOrder(value: unknown): unknown {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : unordered
  if (typeof value !== 'object' || 'toJSON' in value) return unordered
  if (Array.isArray(value)) {
    const items = value.map(inOrder)
    return items.includes(unordered) ? unordered : items
  }
  const keys = orderOf(value)
  if (keys === undefined) return unordered
  const copy: Record<string, unknown> = {}
  for (const key of keys) {
    const field: unknown = Reflect.get(value, key)
    if (field === undefined) continue
    const inner = inOrder(field)
    if (inner === unordered) return unordered
    copy[key] = inner
  }
  return copy
}

function orderOf(value: object): readonly string[] | undefined {
  const keys = Object.keys(value)
  // With the number of keys, a key that itself holds a NUL cannot pass for two: then both lists would be refused below.
  const shape = `${keys.length}\0${keys.join('\0')}`
  if (orders.has(shape)) return orders.get(shape)
  // Engines put keys that look like indexes first whatever the order, and `__proto__` is no ordinary field.
  const plain = keys.every((key) => !/^\d|\0/.test(key) && key !== '__proto__')
  const order = plain ? keys.sort() : undefined
  if (orders.size < mostOrders) orders.set(shape, order)
  return order
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
