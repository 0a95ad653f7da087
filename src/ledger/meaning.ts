import type { Entry } from './entry.ts'

/** Follows what the entries say and notices when one cannot follow those before it. */
export interface Meaning {
  /** What is wrong with this entry in the light of the earlier ones; empty when nothing is. */
  next(entry: Entry): readonly string[]
}

type GrantState = 'minting' | 'active' | 'ending'
type GrantKind = Extract<Entry['kind'], `grant.${string}`>

/** In which states each kind may follow. Nothing follows an end, because an ended grant has no state here. */
const legal: Readonly<Record<Exclude<GrantKind, 'grant.intent'>, readonly GrantState[]>> = {
  // The order to end a grant may come while Vault still mints; the lease is then recorded on the way to its end.
  'grant.issued': ['minting', 'ending'],
  'grant.failed': ['minting', 'ending'],
  'grant.renewed': ['active'],
  'grant.ending': ['minting', 'active', 'ending'],
  'grant.ended': ['active', 'ending'],
}

/**
 * The rules of the story: every issuance has its intent, nothing is renewed or ended that is not live, a grant ends once, times
 * never go back, and every policy digest was recorded as loaded before it was relied on. Memory grows with live grants
 * and distinct policy sets, not with entries.
 */
export function createMeaning(): Meaning {
  const grants = new Map<string, GrantState>()
  const policies = new Set<string>()
  let lastTime = ''

  function story(entry: Entry): string | undefined {
    switch (entry.kind) {
      case 'grant.intent':
      case 'grant.issued':
      case 'grant.failed':
      case 'grant.renewed':
      case 'grant.ending':
      case 'grant.ended':
        return grantStory(grants, entry)
      case 'policy.loaded':
        if (entry.policy === undefined) return 'policy.loaded names no digest'
        policies.add(entry.policy)
        return undefined
      default:
        return undefined
    }
  }

  return {
    next(entry) {
      const wrong = [story(entry)]
      if (entry.time < lastTime) wrong.push(`its time ${entry.time} is before that of the entry before it, ${lastTime}`)
      else lastTime = entry.time
      if (entry.policy !== undefined && !policies.has(entry.policy)) {
        wrong.push(`it rests on policy set ${entry.policy}, which no earlier entry records as loaded`)
      }
      return wrong.filter((problem) => problem !== undefined)
    },
  }
}

function grantStory(grants: Map<string, GrantState>, entry: Extract<Entry, { kind: GrantKind }>): string | undefined {
  const { grant, kind } = entry
  if (grant === undefined) {
    // What Vault held and no intent explains is ended under the hash of its lease.
    const orphan = kind === 'grant.ended' && entry.cause === 'orphan' && entry.lease_hash !== undefined
    return orphan ? undefined : `${kind} names no grant`
  }
  const state = grants.get(grant)
  if (kind === 'grant.intent') {
    grants.set(grant, 'minting')
    return state === undefined ? undefined : `grant.intent for ${grant}, which is open already`
  }
  if (state === undefined || !legal[kind].includes(state)) {
    return `${kind} for ${grant}, which is ${state ?? 'not open: it has no intent or has ended'}`
  }
  if (kind === 'grant.failed' || kind === 'grant.ended') grants.delete(grant)
  else if (kind === 'grant.issued' && state === 'minting') grants.set(grant, 'active')
  else if (kind === 'grant.ending') grants.set(grant, 'ending')
  return undefined
}
