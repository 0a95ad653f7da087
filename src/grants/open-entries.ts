import type { Entry } from '../ledger/entry.ts'
import type { StoredEntry } from '../ledger/ledger.ts'
import { keepEndedMs } from './registry.ts'

/**
 * Follows the ledger and knows which of its entries still matter: those of grants, tasks, approvals, findings and orders that are
 * open, have only just ended or still have an effect (a secret that nothing could end, a hold on issuance), those that tell of a
 * token's use while some clock accepts the token, and whether what the policies in force would end is held back. A restart reads
 * these and no others.
 * It is derived from the entries alone, so it can be made again from them at any time.
 */
export interface OpenEntries {
  /** Must be shown every entry, in order, from an empty ledger or from where `list` was taken on. */
  see(stored: StoredEntry): void
  /** Indexes that still matter, ascending; one that matters twice is there twice. */
  list(): Float64Array
}

/** The finding that is open while the end of what the policies do not support is held back. */
export const heldFinding = 'policy-held'

/** Ended things whose entries are kept at most; beyond it the oldest are left to the ledger, however young they are. */
const mostEnded = 20_000

interface Thing {
  readonly indexes: number[]
  /** Whether the last of them moved the end of a grant, which the next one that does replaces. */
  moved: boolean
  /** That the set it belongs to was issued as a whole. */
  whole?: number
  /** When the secret expires; absent where there is none, or it does not. */
  expiresMs?: number
  /** The how many-th grant of its task it is. */
  taskGrant?: number
  /** Of a task: the last grant that it counted and that has ended, because only that one tells how many there were. */
  lastGrant?: Thing
}

export function createOpenEntries(options: {
  /** Until when (ms since the epoch) the token use in an entry must be remembered. */
  readonly usedUntilMs: (entry: Entry) => number | undefined
  readonly now: () => number
}): OpenEntries {
  const open = new Map<string, Thing>()
  // In the order in which they ended, so that the first ones go first.
  const ended: { readonly atMs: number; readonly indexes: readonly number[] }[] = []
  // That the end of what policies do not support is held, until that is over; and that it was accepted for the set in force.
  let held: number | undefined
  let accepted: { readonly policy: string | undefined; readonly index: number } | undefined
  const lasting = createRemembered(options.now)
  const uses = createRemembered(options.now)

  function follow(id: string, entry: Entry, index: number): void {
    const thing = open.get(id) ?? { indexes: [], moved: false }
    const moves = entry.kind === 'grant.renewed' || entry.kind === 'grant.shortened'
    if (thing.moved && moves) thing.indexes.pop()
    thing.indexes.push(index)
    thing.moved = moves
    if (entry.kind === 'grant.issued' || moves) {
      const ends = entry.kind !== 'grant.issued' || !entry.static
      if (ends && entry.expires !== undefined) thing.expiresMs = Date.parse(entry.expires)
    }
    if (entry.kind === 'grant.intent' && entry.task_grant !== undefined) thing.taskGrant = entry.task_grant
    if (!ends(entry)) {
      open.set(id, thing)
      return
    }
    open.delete(id)
    if (thing.taskGrant !== undefined) {
      const task = open.get(entry.task ?? '')
      if (task !== undefined && thing.taskGrant > (task.lastGrant?.taskGrant ?? 0)) task.lastGrant = thing
    }
    const untilMs = effectUntilMs(entry, thing)
    if (untilMs > Date.parse(entry.time) + keepEndedMs) lasting.remember(untilMs, indexesOf(thing))
    else ended.push({ atMs: Date.parse(entry.time), indexes: indexesOf(thing) })
    if (ended.length > 2 * mostEnded) ended.splice(0, ended.length - mostEnded)
  }

  function followWhole(grant: string, index: number): void {
    const thing = open.get(grant)
    if (thing !== undefined) thing.whole = index
  }

  function followPolicies(entry: Entry, index: number): void {
    if (entry.kind === 'policy.held') held = index
    if (entry.kind === 'finding.closed' && entry.finding === heldFinding) held = undefined
    if (entry.kind === 'policy.accepted') accepted = { policy: entry.policy, index }
    if (entry.kind === 'policy.loaded' && entry.policy !== accepted?.policy) accepted = undefined
  }

  return {
    see({ entry, index }) {
      followPolicies(entry, index)
      const id = subjectOf(entry)
      if (id !== undefined) follow(id, entry, index)
      if (entry.kind === 'composite.issued') for (const part of entry.parts) followWhole(part, index)
      const untilMs = options.usedUntilMs(entry)
      if (untilMs !== undefined) uses.remember(untilMs, [index])
    },
    list() {
      const now = options.now()
      const indexes: number[] = []
      for (const thing of open.values()) indexes.push(...indexesOf(thing))
      for (const thing of ended.slice(-mostEnded)) if (thing.atMs > now - keepEndedMs) indexes.push(...thing.indexes)
      if (held !== undefined) indexes.push(held)
      if (accepted !== undefined) indexes.push(accepted.index)
      for (const remembered of [lasting, uses]) for (const of of remembered.standing()) indexes.push(...of)
      return Float64Array.from(indexes).sort()
    },
  }
}

interface Remembered {
  remember(untilMs: number, indexes: readonly number[]): void
  standing(): readonly (readonly number[])[]
}

/** Indexes that matter until some moment. */
function createRemembered(now: () => number): Remembered {
  let all: { readonly untilMs: number; readonly indexes: readonly number[] }[] = []
  let atLastLook = 0
  const prune = (): void => {
    const nowMs = now()
    all = all.filter(({ untilMs }) => untilMs > nowMs)
    atLastLook = all.length
  }
  return {
    remember(untilMs, indexes) {
      all.push({ untilMs, indexes })
      // Looked through whenever it has doubled, which costs each one a constant share.
      if (all.length >= 1024 && all.length >= 2 * atLastLook) prune()
    },
    standing() {
      prune()
      return all.map(({ indexes }) => indexes)
    },
  }
}

/** Until when what has ended goes on having an effect; 0 when it has none. */
function effectUntilMs(entry: Entry, { expiresMs = 0 }: Thing): number {
  if (entry.kind === 'grant.ended') return entry.outcome === 'expires_only' ? expiresMs : 0
  const holds = entry.kind === 'revocation.completed' || entry.kind === 'revocation.lifted'
  return holds && entry.expires !== undefined ? Date.parse(entry.expires) : 0
}

const indexesOf = ({ indexes, whole, lastGrant }: Thing): readonly number[] => [
  ...indexes,
  ...(whole === undefined ? [] : [whole]),
  ...(lastGrant === undefined ? [] : lastGrant.indexes),
]

function subjectOf(entry: Entry): string | undefined {
  if (entry.kind.startsWith('grant.')) return entry.grant
  if (entry.kind.startsWith('revocation.')) return entry.revocation
  if (entry.kind.startsWith('task.')) return entry.task
  if (entry.kind === 'finding.opened' || entry.kind === 'finding.closed') return entry.finding
  return entry.kind.startsWith('approval.') ? entry.approval : undefined
}

function ends(entry: Entry): boolean {
  switch (entry.kind) {
    case 'grant.failed':
    case 'grant.ended':
    case 'task.ended':
    case 'approval.denied':
    case 'approval.expired':
    case 'approval.used':
    case 'revocation.completed':
    case 'finding.closed':
      return true
    // After the order was completed; before, it goes on.
    case 'revocation.lifted':
      return entry.expires !== undefined
    default:
      return false
  }
}
