import type { Claim, Claims } from '../identity/identity.ts'
import type { ClaimPattern } from './workload.ts'

/** One claim a workload asks for, with the way to it through nested maps. */
export interface ClaimRule {
  /** Names from the outside in; a name may hold dots and slashes (`kubernetes.io`). */
  readonly path: readonly string[]
  /** The path as people read it: `kubernetes.io/namespace`. */
  readonly label: string
  readonly pattern: string | number | boolean
  /** Whether the pattern holds a `*`. */
  readonly glob: boolean
  readonly test: (value: Claim | undefined) => boolean
}

/** The rules of a `match.claims` map, in the order of their labels. */
export function claimRules(claims: Readonly<Record<string, ClaimPattern>>): readonly ClaimRule[] {
  const rules: ClaimRule[] = []
  const collect = (map: Readonly<Record<string, ClaimPattern>>, path: readonly string[]): void => {
    for (const [name, pattern] of Object.entries(map)) {
      const here = [...path, name]
      if (typeof pattern === 'object') collect(pattern, here)
      else rules.push(claimRule(here, pattern))
    }
  }
  collect(claims, [])
  return rules.sort((a, b) => (a.label < b.label ? -1 : a.label > b.label ? 1 : 0))
}

function claimRule(path: readonly string[], pattern: string | number | boolean): ClaimRule {
  const glob = typeof pattern === 'string' && pattern.includes('*')
  const one = glob ? compileGlob(String(pattern)) : (value: Claim): boolean => value === pattern
  return {
    path,
    label: path.join('/'),
    pattern,
    glob,
    // A list fits when one of its members does, exactly as if that member were the claim.
    test: (value) => value !== undefined && (Array.isArray(value) ? value.some(one) : one(value)),
  }
}

/**
 * The claim at the end of a path of names; `undefined` when a name is missing. Never reads inherited properties.
 * A name that is not there may be a dotted way (`kubernetes.io.namespace`): at each step the longest name there wins.
 */
export function claimAt(claims: Claims, path: readonly string[]): Claim | undefined {
  let value: Claim | undefined = claims
  for (const name of path) {
    value = isClaims(value) && Object.hasOwn(value, name) ? value[name] : dotted(value, name)
    if (value === undefined) return undefined
  }
  return value
}

function dotted(from: Claim | undefined, way: string): Claim | undefined {
  let value = from
  let rest = way
  for (;;) {
    if (!isClaims(value)) return undefined
    let end = rest.length
    while (end > 0 && !Object.hasOwn(value, rest.slice(0, end))) end = rest.lastIndexOf('.', end - 1)
    if (end <= 0) return undefined
    value = value[rest.slice(0, end)]
    if (end === rest.length) return value
    rest = rest.slice(end + 1)
  }
}

const isClaims = (value: Claim | undefined): value is Claims =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Splits text into segments and the separators (`/` and `:`) that stand between them. */
export function segmentsOf(text: string): { readonly segments: readonly string[]; readonly separators: string } {
  const segments: string[] = []
  let separators = ''
  let start = 0
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (char !== '/' && char !== ':') continue
    segments.push(text.slice(start, i))
    separators += char
    start = i + 1
  }
  segments.push(text.slice(start))
  return { segments, separators }
}

/**
 * A segment glob: `*` stands for one or more characters within one segment and never for `/` or `:`. Each segment holds at
 * most one `*` (the loader checks it), so a comparison reads each character of the text at most a fixed number of times.
 */
export function compileGlob(pattern: string): (value: Claim) => boolean {
  const { segments, separators } = segmentsOf(pattern)
  const parts = segments.map((segment) => {
    const star = segment.indexOf('*')
    return star < 0 ? { whole: segment } : { head: segment.slice(0, star), tail: segment.slice(star + 1) }
  })
  return (value) => {
    if (typeof value !== 'string') return false
    let start = 0
    for (const [at, part] of parts.entries()) {
      let end = start
      while (end < value.length && value[end] !== '/' && value[end] !== ':') end++
      // The separator after this segment, or the end of the text after the last one, must be the same in both.
      if ((separators[at] ?? '') !== (value[end] ?? '')) return false
      const segment = value.slice(start, end)
      if (part.whole !== undefined ? segment !== part.whole : !between(segment, part.head, part.tail)) return false
      start = end + 1
    }
    return true
  }
}

const between = (segment: string, head: string, tail: string): boolean =>
  segment.length > head.length + tail.length && segment.startsWith(head) && segment.endsWith(tail)

/** Why a glob may not be written; `undefined` when it may. */
export function globProblem(pattern: string): string | undefined {
  const { segments } = segmentsOf(pattern)
  if (segments.some((segment) => segment.indexOf('*') !== segment.lastIndexOf('*'))) return 'two `*` in one segment'
  return segments.length > 64 ? 'more than 64 segments' : undefined
}

/** The leading segments that hold no `*`, as a key: what an index of globs can look up. */
export function literalPrefix(pattern: string): { readonly key: string; readonly length: number } {
  const { segments } = segmentsOf(pattern)
  const first = segments.findIndex((segment) => segment.includes('*'))
  const length = first < 0 ? segments.length : first
  return { key: prefixKey(segments, length), length }
}

/** The key of the first `length` segments. */
export const prefixKey = (segments: readonly string[], length: number): string => segments.slice(0, length).join('\n')
