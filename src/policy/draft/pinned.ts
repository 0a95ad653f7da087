import type { Claim, Claims } from '../../identity/identity.ts'
import type { Pin } from '../breadth/platform.ts'
import { platforms } from '../breadth/platforms.ts'
import type { IssuerPolicy } from '../issuer.ts'
import type { ClaimPattern } from '../workload.ts'

/** A claim that a match asks for, and what it must say. */
export interface PinnedClaim {
  readonly label: string
  readonly path: readonly string[]
  readonly pattern: string | number | boolean
}

/** The claims to match, and what could not be pinned, one sentence each. */
export interface Pinned {
  readonly claims: readonly PinnedClaim[]
  readonly warnings: readonly string[]
}

const subject: readonly Pin[] = [{ labels: ['sub'] }]
const longestPattern = 1024

/** What of these claims pins the workload down tightest and longest. The claims are the text of whoever sent them. */
export function pinnedClaims(flavour: IssuerPolicy['flavour'], claims: Claims): Pinned {
  const platform = platforms[flavour]
  const found: PinnedClaim[] = []
  const warnings: string[] = []
  for (const pin of platform?.pins ?? subject) {
    const taken = take(pin, claims, warnings)
    if (taken !== undefined) found.push(taken)
  }
  // A platform may let its subject be anything; it is better than nothing.
  if (found.length === 0) found.push(...subject.flatMap((pin) => take(pin, claims, warnings) ?? []))
  if (platform?.pins === undefined && found.length > 0) {
    warnings.push('`sub` alone is pinned: whether it is ever given to somebody else is for its issuer to say')
  }
  return { claims: found, warnings }
}

/** A sentence for each claim whose text may come to name somebody else, with nothing beside it that would not. */
export function recyclableClaims(
  flavour: IssuerPolicy['flavour'],
  pinned: readonly PinnedClaim[],
): readonly (PinnedClaim & { readonly warning: string })[] {
  const used = new Set(pinned.map(({ label }) => label))
  return pinned.flatMap((claim) => {
    const recyclable = platforms[flavour]?.recyclable[claim.label]
    if (recyclable === undefined || recyclable.instead.some((better) => used.has(better))) return []
    const better = recyclable.instead.map((name) => `\`${name}\``).join(', ')
    const advice = better === '' ? '' : `; ${better} would be better, and the token has none`
    return [{ ...claim, warning: `\`${claim.label}\` ${recyclable.why}${advice}` }]
  })
}

function take({ labels, only, passing = [] }: Pin, claims: Claims, warnings: string[]): PinnedClaim | undefined {
  for (const label of labels) {
    const path = pathOf(claims, label)
    const value = path === undefined ? undefined : valueAt(claims, path)
    if (path === undefined || value === undefined || value === null || (only !== undefined && value !== only)) continue
    const problem = unfit(value, passing)
    if (problem === undefined) return { label, path, pattern: value as PinnedClaim['pattern'] }
    warnings.push(`\`${label}\` is left out: ${problem}`)
  }
  return undefined
}

/** A draft is read by a person: what cannot be seen must not be signed off. */
export const isPlain = (text: string): boolean => !/[^\p{L}\p{N}\p{P}\p{S} ]/u.test(text)

function unfit(value: Claim, passing: readonly string[]): string | undefined {
  if (typeof value === 'boolean' || typeof value === 'number') return undefined
  if (typeof value !== 'string') return 'it is neither text, a number nor a truth value'
  if (value === '' || value.length > longestPattern) return `it is empty or longer than ${longestPattern} characters`
  if (value.includes('*')) return 'it holds a `*`, which in a match stands for other text'
  if (!isPlain(value)) return 'it holds characters that cannot be seen'
  const prefix = passing.find((text) => value.startsWith(text))
  return prefix === undefined ? undefined : `${prefix}… changes from run to run; draft from a run on a protected branch`
}

/** Names from the outside in; the longest name that is there wins, as names may hold slashes themselves. */
function pathOf(claims: Claims, label: string): readonly string[] | undefined {
  if (Object.hasOwn(claims, label)) return [label]
  for (let at = label.lastIndexOf('/'); at > 0; at = label.lastIndexOf('/', at - 1)) {
    const name = label.slice(0, at)
    const inner = Object.hasOwn(claims, name) ? claims[name] : undefined
    if (!isClaims(inner)) continue
    const rest = pathOf(inner, label.slice(at + 1))
    if (rest !== undefined) return [name, ...rest]
  }
  return undefined
}

const valueAt = (claims: Claims, path: readonly string[]): Claim | undefined =>
  path.reduce<Claim | undefined>((value, name) => (isClaims(value) ? value[name] : undefined), claims)

const isClaims = (value: Claim | undefined): value is Claims =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The claims as a `match` writes them, maps within maps. */
export function matchOf(pinned: readonly PinnedClaim[]): Readonly<Record<string, ClaimPattern>> {
  type Map = { [claim: string]: ClaimPattern | Map }
  const all: Map = {}
  for (const { path, pattern } of pinned) {
    let map = all
    for (const name of path.slice(0, -1)) {
      map[name] ??= {}
      map = map[name] as Map
    }
    map[path.at(-1) ?? ''] = pattern
  }
  return all as Record<string, ClaimPattern>
}
