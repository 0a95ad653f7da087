import type { Fact } from './fact.ts'
import { createLiveGrants } from './live-grants.ts'
import type { LiveGrant, MeaningState } from './verify-state-schema.ts'

/** Follows what the entries say and notices when one cannot follow those before it. */
export interface Meaning {
  /** What is wrong with this entry in the light of the earlier ones; empty when nothing is. */
  next(fact: Fact): readonly string[]
  /** Entries that nobody could read come next: from here on, what they may have said is taken as said. */
  skip(): void
  /** What `createMeaning` goes on from. */
  state(): MeaningState
}

/** Live grants, and distinct policy sets, that are followed. A hostile log can name as many as it has entries. */
export const mostGrants = 1_000_000
export const mostPolicies = 100_000

type GrantKind = Extract<Fact['kind'], `grant.${string}`>

/** In which states each kind may follow. Nothing follows an end, because an ended grant has no state here. */
const legal: Readonly<Record<Exclude<GrantKind, 'grant.intent'>, readonly LiveGrant['state'][]>> = {
  // The order to end a grant may come while Vault still mints; the lease is then recorded on the way to its end.
  'grant.issued': ['minting', 'ending'],
  'grant.failed': ['minting', 'ending'],
  'grant.renewed': ['active'],
  'grant.shortened': ['active'],
  'grant.ending': ['minting', 'active', 'ending'],
  'grant.ended': ['active', 'ending'],
}

/** Vault counts whole seconds. */
const roundingMs = 1_000

/**
 * The rules of the story: every issuance has its intent and every end its issuance, nothing is renewed or ended that is not
 * live, a grant ends once, no credential outlives its ceilings, times never go back, and every policy digest was recorded as loaded
 * before it was relied on. Memory grows with live grants and distinct policy sets, up to a bound, and not with entries.
 */
export function createMeaning(from?: MeaningState): Meaning {
  const grants = createLiveGrants(from?.grants)
  const policies = new Set<string>(from?.policies)
  let lastMs = from?.lastMs ?? Number.MIN_SAFE_INTEGER
  let skipped = from?.skipped ?? false

  function grantStory(fact: Fact, kind: GrantKind): (string | undefined)[] {
    const { grant: id } = fact
    if (id === undefined) return [fact.orphan === true ? undefined : `${kind} names no grant`]
    const known = grants.get(id)
    if (kind === 'grant.intent') {
      if (known !== undefined) return [`grant.intent for ${id}, which is open already`]
      if (grants.size >= mostGrants) {
        skip()
        return [`more than ${mostGrants} grants are live, so the story of those before it was given up`]
      }
      grants.set(id, { state: 'minting', ...ceilingsOf(fact) })
      return []
    }
    if (known === undefined) {
      if (!skipped) return [`${kind} for ${id}, which is not open: it has no intent or has ended`]
      // Where its life began nobody could read; from an issuance on it can be followed again.
      if (kind !== 'grant.issued' || grants.size >= mostGrants) return []
    }
    const grant: LiveGrant = known ?? { state: 'minting' }
    if (!legal[kind].includes(grant.state)) return [`${kind} for ${id}, which is ${grant.state}`]
    const wrong = [order(grant, id, kind), outlives(grant, fact, kind)]
    const next = advance(grant, fact, kind)
    if (next === undefined) grants.delete(id)
    else grants.set(id, next)
    return wrong
  }

  function policyStory({ kind, policy }: Fact): string | undefined {
    if (policy === undefined) return kind === 'policy.loaded' ? 'policy.loaded names no digest' : undefined
    if (policies.has(policy)) return undefined
    if (policies.size >= mostPolicies)
      return `more than ${mostPolicies} policy sets were loaded: this one is not followed`
    if (kind === 'policy.loaded' || skipped) {
      policies.add(policy)
      return undefined
    }
    return `it rests on policy set ${policy}, which no earlier entry records as loaded`
  }

  function timeStory({ timeMs }: Fact): string | undefined {
    if (timeMs < lastMs) return `its time ${timeText(timeMs)} is before that of an entry before it, ${timeText(lastMs)}`
    lastMs = timeMs
    return undefined
  }

  function skip(): void {
    // What is known of a grant may be overtaken by what could not be read.
    grants.clear()
    skipped = true
  }

  return {
    next(fact) {
      const story = isGrantKind(fact.kind) ? grantStory(fact, fact.kind) : []
      return [...story, timeStory(fact), policyStory(fact)].filter((wrong) => wrong !== undefined)
    },
    skip,
    state: () => ({ lastMs, skipped, policies: [...policies], grants: grants.all() }),
  }
}

const isGrantKind = (kind: Fact['kind']): kind is GrantKind => kind.startsWith('grant.')

/** One issuance, and an end only for what was issued. */
function order({ issuedMs }: LiveGrant, id: string, kind: GrantKind): string | undefined {
  if (issuedMs === undefined)
    return kind === 'grant.ended' ? `grant.ended for ${id}, which was never issued` : undefined
  return kind === 'grant.issued' || kind === 'grant.failed' ? `${kind} for ${id}, which was issued already` : undefined
}

/** Invariant 8: how long the credential lives, against what the decisions behind it allowed. */
function outlives(grant: LiveGrant, fact: Fact, kind: GrantKind): string | undefined {
  if (kind !== 'grant.issued' && kind !== 'grant.renewed' && kind !== 'grant.shortened') return undefined
  const { expiresMs, timeMs } = fact
  const [issuedMs, own] =
    kind === 'grant.issued' ? [timeMs, least(grant.ownSeconds, fact.ownSeconds)] : [grant.issuedMs, fact.ownSeconds]
  const lastMs = least(
    endOf(timeMs, own),
    issuedMs === undefined ? undefined : endOf(issuedMs, least(grant.lifeSeconds, fact.lifeSeconds)),
  )
  if (lastMs === undefined || (expiresMs !== undefined && expiresMs <= lastMs + roundingMs)) return undefined
  const end = expiresMs === undefined ? 'without an end' : `until ${timeText(expiresMs)}`
  return `${kind} ${end}, and its ceilings allow nothing after ${timeText(Math.min(lastMs, latestMs))}`
}

const timeText = (ms: number): string => new Date(ms).toISOString()

/** The last moment that has a text: a ceiling can be any number. */
const latestMs = 8.64e15

const endOf = (fromMs: number, seconds: number | undefined): number | undefined =>
  seconds === undefined ? undefined : fromMs + seconds * 1000

/** The grant after that entry; `undefined` when it is over. */
function advance(grant: LiveGrant, fact: Fact, kind: GrantKind): LiveGrant | undefined {
  switch (kind) {
    case 'grant.failed':
    case 'grant.ended':
      return undefined
    case 'grant.ending':
      return { ...grant, state: 'ending' }
    case 'grant.issued': {
      const lifeSeconds = least(grant.lifeSeconds, fact.lifeSeconds)
      return {
        state: grant.state === 'minting' ? 'active' : grant.state,
        issuedMs: fact.timeMs,
        ...(lifeSeconds !== undefined && { lifeSeconds }),
      }
    }
    default:
      return grant
  }
}

const ceilingsOf = ({ ownSeconds, lifeSeconds }: Fact): Pick<LiveGrant, 'ownSeconds' | 'lifeSeconds'> => ({
  ...(ownSeconds !== undefined && { ownSeconds }),
  ...(lifeSeconds !== undefined && { lifeSeconds }),
})

const least = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? (a ?? b) : Math.min(a, b)
