import type { Claim, Claims } from '../identity/identity.ts'
import { type ClaimRule, claimAt, literalPrefix, prefixKey, segmentsOf } from './match.ts'
import type { CompiledWorkload, WorkloadIndex } from './policy-set.ts'

/** Workloads of one issuer, filed under one claim each. */
interface ClaimShelf {
  readonly path: readonly string[]
  readonly exact: Map<string | number | boolean, CompiledWorkload[]>
  /** Globs by their leading literal segments. */
  readonly globs: Map<string, CompiledWorkload[]>
  /** How many leading segments those keys have; each is looked up once. */
  readonly prefixLengths: Set<number>
}

/** Builds the index; `pace` is awaited between workloads. */
export async function indexWorkloads(
  workloads: readonly CompiledWorkload[],
  pace: () => Promise<void> | undefined,
): Promise<WorkloadIndex> {
  const popularity = new Map<string, number>()
  for (const workload of workloads) {
    for (const rule of workload.rules) {
      const key = ruleKey(workload, rule)
      popularity.set(key, (popularity.get(key) ?? 0) + 1)
    }
    await pace()
  }
  const issuers = new Map<string, Map<string, ClaimShelf>>()
  for (const workload of workloads) {
    const rule = rarest(workload, popularity)
    if (rule !== undefined) file(issuers, workload, rule)
    await pace()
  }
  return { match: (issuer, claims) => match(issuers.get(issuer), claims) }
}

const ruleKey = (workload: CompiledWorkload, rule: ClaimRule): string => {
  const value = rule.glob ? `*${literalPrefix(String(rule.pattern)).key}` : `${typeof rule.pattern}${rule.pattern}`
  return `${workload.policy.match.issuer}\n${rule.label}\n${value}`
}

/** The rule that tells the workload apart best: an exact one before a glob, then the one fewest others share. */
function rarest(workload: CompiledWorkload, popularity: ReadonlyMap<string, number>): ClaimRule | undefined {
  const count = (rule: ClaimRule): number => popularity.get(ruleKey(workload, rule)) ?? 0
  return workload.rules.toSorted(
    (a, b) =>
      Number(a.glob) - Number(b.glob) || count(a) - count(b) || Number(b.label === 'sub') - Number(a.label === 'sub'),
  )[0]
}

function file(issuers: Map<string, Map<string, ClaimShelf>>, workload: CompiledWorkload, rule: ClaimRule): void {
  const { issuer } = workload.policy.match
  const shelves = issuers.get(issuer) ?? new Map<string, ClaimShelf>()
  issuers.set(issuer, shelves)
  const key = rule.path.join('\n')
  const shelf = shelves.get(key) ?? { path: rule.path, exact: new Map(), globs: new Map(), prefixLengths: new Set() }
  shelves.set(key, shelf)
  if (!rule.glob) {
    append(shelf.exact, rule.pattern, workload)
    return
  }
  const prefix = literalPrefix(String(rule.pattern))
  shelf.prefixLengths.add(prefix.length)
  append(shelf.globs, prefix.key, workload)
}

function append<K>(map: Map<K, CompiledWorkload[]>, key: K, workload: CompiledWorkload): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [workload])
  else list.push(workload)
}

function match(shelves: ReadonlyMap<string, ClaimShelf> | undefined, claims: Claims): readonly CompiledWorkload[] {
  if (shelves === undefined) return []
  const found = new Set<CompiledWorkload>()
  const consider = (candidates: readonly CompiledWorkload[] | undefined): void => {
    for (const candidate of candidates ?? []) if (fits(candidate, claims)) found.add(candidate)
  }
  for (const shelf of shelves.values()) {
    const value = claimAt(claims, shelf.path)
    for (const one of Array.isArray(value) ? value : [value]) lookUp(shelf, one, consider)
  }
  return found.size < 2 ? [...found] : [...found].sort((a, b) => (a.name < b.name ? -1 : 1))
}

function lookUp(
  shelf: ClaimShelf,
  value: Claim | undefined,
  consider: (found: readonly CompiledWorkload[] | undefined) => void,
): void {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return
  consider(shelf.exact.get(value))
  if (shelf.globs.size === 0 || typeof value !== 'string') return
  const { segments } = segmentsOf(value)
  for (const length of shelf.prefixLengths) {
    if (length <= segments.length) consider(shelf.globs.get(prefixKey(segments, length)))
  }
}

/** Whether every claim the workload asks for is there and fits. */
const fits = (workload: CompiledWorkload, claims: Claims): boolean =>
  workload.rules.every((rule) => rule.test(claimAt(claims, rule.path)))
