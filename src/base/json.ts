import { ok, type Result } from './result.ts'

/** What `JSON.parse` makes. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json }

/** Bounds on attacker text. The length of the text is the caller's to bound. */
export interface JsonBounds {
  /** Greatest nesting of arrays and objects; a bare scalar has depth 0. */
  readonly maxDepth: number
  /** Greatest number of object members and array elements in the whole text. */
  readonly maxMembers: number
}

/** Why a text was refused, and the offset (UTF-16 units) where that was seen. Quotes nothing of the text. */
export interface JsonProblem {
  readonly problem: 'syntax' | 'too_deep' | 'too_many' | 'duplicate_key' | 'forbidden_key' | 'bad_text' | 'bad_number'
  readonly at: number
  /** A sentence for people, without any of the text. */
  readonly text: string
}

const sentences = {
  syntax: 'it is not JSON',
  too_deep: 'it is nested too deeply',
  too_many: 'it has too many members',
  duplicate_key: 'an object names the same member twice',
  forbidden_key: 'an object has a member named __proto__',
  bad_text: 'a string holds half a surrogate pair',
  bad_number: 'a number is too large to represent',
} as const satisfies Record<JsonProblem['problem'], string>

type Refused = { readonly ok: false; readonly refusal: JsonProblem }

const refused = (problem: JsonProblem['problem'], at: number): Refused => ({
  ok: false,
  refusal: { problem, at, text: sentences[problem] },
})

/**
 * Parses JSON in which every reader sees the same thing (RFC 8259 narrowed towards RFC 7493): no member twice, however
 * it is escaped, no `__proto__`, no lone surrogate, no number beyond a double, and bounded depth and count.
 * Takes time linear in the text, and stops at the first bound that is passed. Never throws.
 */
export function parseStrictJson(text: string, bounds: JsonBounds): Result<Json, JsonProblem> {
  const problem = scan(text, bounds)
  if (problem !== undefined) return problem
  try {
    return ok(JSON.parse(text) as Json)
  } catch {
    // The engine's message quotes the text; drop it.
    return refused('syntax', 0)
  }
}

// Open containers: the names seen so far in an object, or `undefined` for an array.
type Container = Set<string> | undefined

const quote = 0x22
const comma = 0x2c
const backslash = 0x5c
const openBracket = 0x5b
const closeBracket = 0x5d
const openBrace = 0x7b
const closeBrace = 0x7d

const isSpace = (unit: number): boolean => unit === 0x20 || unit === 0x0a || unit === 0x0d || unit === 0x09
const startsNumber = (unit: number): boolean => unit === 0x2d || (unit >= 0x30 && unit <= 0x39)

// Sees what `JSON.parse` cannot report. It has to be right about valid texts only: the grammar is left to `JSON.parse`.
function scan(text: string, bounds: JsonBounds): Refused | undefined {
  const open: Container[] = []
  let members = 0
  // Whether the next value opens a member or an element: true after `{`, `[` and `,`.
  let fresh = false
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (isSpace(unit)) continue
    if (unit === closeBrace || unit === closeBracket) {
      open.pop()
      fresh = false
      continue
    }
    if (unit === comma) {
      fresh = true
      continue
    }
    const first = fresh
    fresh = false
    if (first && ++members > bounds.maxMembers) return refused('too_many', at)
    if (unit === openBrace || unit === openBracket) {
      if (open.length >= bounds.maxDepth) return refused('too_deep', at)
      open.push(unit === openBrace ? new Set() : undefined)
      fresh = true
    } else if (unit === quote) {
      const end = endOfString(text, at)
      if (end === -1) return refused('syntax', at)
      const problem = checkString(text.slice(at, end + 1), first ? open.at(-1) : undefined)
      if (problem !== undefined) return refused(problem, at)
      at = end
    } else if (startsNumber(unit)) {
      const end = endOfNumber(text, at)
      if (!Number.isFinite(Number(text.slice(at, end)))) return refused('bad_number', at)
      at = end - 1
    }
  }
  return undefined
}

// Offset of the closing quote. Each unit is looked at once, so a run of backslashes costs no more than any other text.
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (unit === quote) return at
    if (unit === backslash) at++
  }
  return -1
}

function endOfNumber(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && /[0-9.eE+-]/.test(text.charAt(at))) at++
  return at
}

function checkString(quoted: string, names: Container): JsonProblem['problem'] | undefined {
  const value = unquoted(quoted)
  if (value === undefined) return 'syntax'
  if (!value.isWellFormed()) return 'bad_text'
  if (names === undefined) return undefined
  if (value === '__proto__') return 'forbidden_key'
  if (names.has(value)) return 'duplicate_key'
  names.add(value)
  return undefined
}

function unquoted(quoted: string): string | undefined {
  if (!quoted.includes('\\')) return quoted.slice(1, -1)
  try {
    return JSON.parse(quoted) as string
  } catch {
    return undefined
  }
}
