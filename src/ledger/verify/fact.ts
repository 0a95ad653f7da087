import type { Entry } from '../entry.ts'

/** What the meaning of the whole needs of one entry: little, so that it crosses threads cheaply. */
export interface Fact {
  readonly kind: Entry['kind']
  readonly timeMs: number
  readonly grant?: string
  readonly policy?: string
  /** When the credential ends. */
  readonly expiresMs?: number
  /** The smallest ceiling of the entry, counted from its time. */
  readonly ownSeconds?: number
  /** The smallest ceiling of the entry that bounds the credential's whole life, counted from issuance. */
  readonly lifeSeconds?: number
  /** The end of a lease that no intent explains. */
  readonly orphan?: true
  readonly rotation?: { readonly newKey: string; readonly statement: string }
  readonly archived?: Archived
}

/** Full bundles that are said to stand in another folder: those of the entries `from` up to, not including, `to`. */
export interface Archived {
  readonly from: number
  readonly to: number
  readonly bundles: number
  readonly destination: string
}

/** What the entry says to the meaning of the whole. */
export function factOf(entry: Entry): Fact {
  const { kind, grant, policy } = entry
  return {
    kind,
    timeMs: Date.parse(entry.time),
    ...(grant !== undefined && { grant }),
    ...(policy !== undefined && { policy }),
    ...more(entry),
  }
}

function more(entry: Entry): Partial<Fact> | undefined {
  switch (entry.kind) {
    case 'grant.intent':
      return smallest(entry.ceilings, onlyOnce)
    case 'grant.issued': {
      const ceilings = smallest(entry.ceilings, onlyOnce)
      return entry.expires === undefined ? ceilings : { ...ceilings, expiresMs: Date.parse(entry.expires) }
    }
    case 'grant.renewed':
      return { ...smallest(entry.ceilings, eachTime), expiresMs: Date.parse(entry.expires) }
    case 'grant.shortened':
      return { expiresMs: Date.parse(entry.expires) }
    case 'grant.ended':
      return entry.cause === 'orphan' && entry.lease_hash !== undefined ? { orphan: true } : undefined
    case 'config.key_rotated':
      return { rotation: { newKey: entry.new_key, statement: entry.statement } }
    case 'config.archived': {
      const { from, to, bundles, destination } = entry
      return { archived: { from, to, bundles, destination } }
    }
    default:
      return undefined
  }
}

/** What was asked for bounds the first life only: a renewal asks again. */
const onlyOnce: ReadonlySet<string> = new Set(['request'])
/** Of the ceilings of a renewal these are moments, written as the time that is left until then. */
const eachTime: ReadonlySet<string> = new Set(['request', 'task', 'purpose until'])

function smallest(
  ceilings: readonly { readonly name: string; readonly seconds: number }[],
  notForLife: ReadonlySet<string>,
): Partial<Fact> {
  const own = ceilings.map(({ seconds }) => seconds)
  const life = ceilings.filter(({ name }) => !notForLife.has(name)).map(({ seconds }) => seconds)
  return {
    ...(own.length > 0 && { ownSeconds: Math.min(...own) }),
    ...(life.length > 0 && { lifeSeconds: Math.min(...life) }),
  }
}
