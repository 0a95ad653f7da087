import type { Entry } from '../ledger/entry.ts'
import type { StoredEntry } from '../ledger/ledger.ts'
import { keepEndedMs } from './registry.ts'

/**
 * Follows the ledger and knows which of its entries still matter: those of grants, tasks, approvals and findings that are open or have
 * only just ended, those that tell of a token's use while some clock accepts the token, and whether what the policies in force would end
 * is held back. A restart reads these and no others.
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
  let uses: { readonly untilMs: number; readonly index: number }[] = []
  let usesAtLastLook = 0
  // That the end of what policies do not support is held, until that is over; and that it was accepted for the set in force.
  let held: number | undefined
  let accepted: { readonly policy: string | undefined; readonly index: number } | undefined

  function follow(id: string, entry: Entry, index: number): void {
    const thing = open.get(id) ?? { indexes: [], moved: false }
    const moves = entry.kind === 'grant.renewed' || entry.kind === 'grant.shortened'
    if (thing.moved && moves) thing.indexes.pop()
    thing.indexes.push(index)
    thing.moved = moves
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
    ended.push({ atMs: Date.parse(entry.time), indexes: indexesOf(thing) })
    if (ended.length > 2 * mostEnded) ended.splice(0, ended.length - mostEnded)
  }

  function remember(entry: Entry, index: number): void {
    const untilMs = options.usedUntilMs(entry)
    if (untilMs === undefined) return
    uses.push({ untilMs, index })
    // Looked through whenever it has doubled, which costs each use a constant share.
    if (uses.length < 1024 || uses.length < 2 * usesAtLastLook) return
    const now = options.now()
    uses = uses.filter((use) => use.untilMs > now)
    usesAtLastLook = uses.length
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
      remember(entry, index)
    },
    list() {
      const now = options.now()
      const indexes: number[] = []
      for (const thing of open.values()) indexes.push(...indexesOf(thing))
      for (const thing of ended.slice(-mostEnded)) if (thing.atMs > now - keepEndedMs) indexes.push(...thing.indexes)
      if (held !== undefined) indexes.push(held)
      if (accepted !== undefined) indexes.push(accepted.index)
      for (const { untilMs, index } of uses) if (untilMs > now) indexes.push(index)
      return Float64Array.from(indexes).sort()
    },
  }
}

const indexesOf = ({ indexes, lastGrant }: Thing): readonly number[] =>
  lastGrant === undefined ? indexes : [...indexes, ...lastGrant.indexes]

function subjectOf(entry: Entry): string | undefined {
  if (entry.kind.startsWith('grant.')) return entry.grant
  if (entry.kind.startsWith('task.')) return entry.task
  if (entry.kind === 'finding.opened' || entry.kind === 'finding.closed') return entry.finding
  return entry.kind.startsWith('approval.') ? entry.approval : undefined
}

function ends({ kind }: Entry): boolean {
  switch (kind) {
    case 'grant.failed':
    case 'grant.ended':
    case 'task.ended':
    case 'approval.denied':
    case 'approval.expired':
    case 'approval.used':
    case 'finding.closed':
      return true
    default:
      return false
  }
}
