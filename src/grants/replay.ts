import type { Clock } from '../base/clock.ts'
import type { ApprovalId, TaskId } from '../base/ids.ts'
import type { Entry } from '../ledger/entry.ts'
import type { StoredEntry } from '../ledger/ledger.ts'
import type { Approval, Approvals } from './approvals.ts'
import { findingOf, irrevocableAfter } from './end.ts'
import { advance, type Grant, grantOfIntent } from './grant.ts'
import { applyToOrders } from './order-replay.ts'
import type { OrderRecord, Orders } from './orders.ts'
import { forgetAtMsOf, keepEndedMs, type Registry } from './registry.ts'
import { createSharing } from './share.ts'
import type { Task, Tasks } from './tasks.ts'

/**
 * Rebuilds what memory held from entries of the ledger alone, through the same transitions that live work takes. Returns how
 * many were read.
 * @throws Error when an entry may not follow the one before it: the ledger was not written by this broker.
 */
export async function replay(deps: {
  /** All of the record in order, or that part of it which still matters. */
  entries: AsyncIterable<StoredEntry>
  registry: Registry
  tasks: Tasks
  approvals: Approvals
  orders: Pick<Orders, 'restore'>
  clock: Clock
  /** Shown every entry, in order; others remember from the record, too. */
  recall?: (stored: StoredEntry) => Promise<void>
}): Promise<{ readonly entries: number }> {
  const grants = new Map<string, Grant>()
  /** Sets that were issued as a whole. */
  const whole = new Set<string>()
  const tasks = new Map<string, Task>()
  const approvals = new Map<string, Approval>()
  const orders = new Map<string, OrderRecord>()
  const share = createSharing()
  const since = deps.clock.now() - keepEndedMs
  let entries = 0
  for await (const stored of deps.entries) {
    entries++
    applyToGrants(grants, stored, { share, since })
    if (stored.entry.kind === 'composite.issued') whole.add(stored.entry.composite ?? '')
    applyToTasks(tasks, stored.entry)
    applyToApprovals(approvals, stored.entry)
    applyToOrders(orders, stored.entry)
    await deps.recall?.(stored)
  }
  for (const grant of grants.values()) {
    const mintLost = grant.status !== 'ended' && grant.ledger.issued === undefined
    const restored = resumed(grant, { tasks, whole }, deps.clock.now())
    await deps.registry.restore({ ...restored, mintLost })
  }
  for (const task of tasks.values())
    if (task.status === 'open' || (task.endedAtMs ?? 0) >= since) await deps.tasks.restore(task)
  for (const approval of approvals.values()) if (approval.expiresAtMs >= since) await deps.approvals.restore(approval)
  // Last, because an order counts the grants that fell under it.
  for (const order of orders.values()) if (matters(order, since, deps.clock.now())) await deps.orders.restore(order)
  return { entries }
}

/** Open, holding, or completed just now. */
const matters = ({ completedAtMs, holdUntilMs = 0, liftedAtMs }: OrderRecord, since: number, now: number): boolean =>
  completedAtMs === undefined || completedAtMs >= since || (liftedAtMs === undefined && holdUntilMs > now)

/**
 * What is ending goes on ending, and so does what hangs on a task that has ended: a crash may have come in between. What belongs to a
 * set that was not issued as a whole was handed to nobody.
 */
function resumed(
  grant: Grant,
  { tasks, whole }: { tasks: ReadonlyMap<string, Task>; whole: ReadonlySet<string> },
  nowMs: number,
): Grant {
  const partial = grant.status === 'active' && grant.composite !== undefined && !whole.has(grant.composite)
  if (partial) return { ...grant, status: 'ending', cause: 'issuance_failed', retryAtMs: nowMs }
  const orphaned = grant.status === 'active' && grant.task !== undefined && tasks.get(grant.task)?.status !== 'open'
  if (orphaned) return { ...grant, status: 'ending', cause: 'task_ended', retryAtMs: nowMs }
  return grant.status === 'ending' ? { ...grant, retryAtMs: nowMs } : grant
}

function applyToGrants(
  grants: Map<string, Grant>,
  { entry, index }: StoredEntry,
  { share, since }: { share: (grant: Grant) => Grant; since: number },
): void {
  const atMs = Date.parse(entry.time)
  switch (entry.kind) {
    case 'grant.intent': {
      const grant = share(grantOfIntent(entry, atMs, index))
      grants.set(grant.id, grant)
      return
    }
    case 'grant.issued':
    case 'grant.failed':
    case 'grant.renewed':
    case 'grant.shortened':
    case 'grant.ending':
    case 'grant.ended': {
      const grant = grants.get(entry.grant ?? '')
      // An orphan's end names no grant of ours.
      if (grant === undefined) return
      const next = advance(grant, entry, atMs, index)
      // However long the ledger is, only what it still has to answer for is held while it is read.
      if (next.status === 'ended' && forgetAtMsOf(next) < since + keepEndedMs) grants.delete(next.id)
      else grants.set(next.id, next)
      return
    }
    case 'finding.opened':
    case 'finding.closed': {
      const grant = grants.get(entry.grant ?? '')
      if (grant === undefined || entry.finding !== findingOf(grant.id)) return
      const irrevocable = entry.kind === 'finding.opened'
      // So many attempts at least; a start does not begin to count them anew.
      grants.set(grant.id, { ...grant, irrevocable, attempts: irrevocable ? irrevocableAfter : 0 })
      return
    }
    default:
  }
}

function applyToTasks(tasks: Map<string, Task>, entry: Entry): void {
  const atMs = Date.parse(entry.time)
  if (entry.kind === 'grant.intent' && entry.task_grant !== undefined) {
    const task = tasks.get(entry.task ?? '')
    if (task !== undefined) tasks.set(task.id, { ...task, granted: Math.max(task.granted ?? 0, entry.task_grant) })
  }
  if (entry.kind === 'task.opened' && entry.task !== undefined) {
    tasks.set(entry.task, {
      id: entry.task as TaskId,
      workload: entry.workload ?? '',
      owner: entry.owner ?? '',
      purpose: entry.purpose ?? '',
      environment: entry.environment ?? '',
      intent: entry.intent,
      status: 'open',
      openedAtMs: atMs,
      expiresAtMs: Date.parse(entry.expires),
      endedAtMs: undefined,
      granted: 0,
      heartbeatSeconds: entry.heartbeat,
      run: entry.run,
      retry:
        entry.idempotency_key === undefined
          ? undefined
          : { key: entry.idempotency_key, request: entry.idempotency_request ?? '' },
    })
  }
  if (entry.kind === 'task.ended') {
    const task = tasks.get(entry.task ?? '')
    if (task !== undefined) tasks.set(task.id, { ...task, status: 'ended', endedAtMs: atMs })
  }
}

function applyToApprovals(approvals: Map<string, Approval>, entry: Entry): void {
  const id = entry.approval ?? ''
  const known = approvals.get(id)
  switch (entry.kind) {
    case 'approval.requested':
      approvals.set(id, {
        id: id as ApprovalId,
        status: 'pending',
        level: entry.level,
        approvers: entry.approvers,
        approvedBy: [],
        digest: entry.digest,
        workload: entry.workload ?? '',
        requester: personOf(entry),
        owner: entry.owner ?? '',
        purpose: entry.purpose ?? '',
        environment: entry.environment ?? '',
        credentials: entry.credentials ?? [entry.credential ?? ''],
        ttlSeconds: entry.ttl,
        reason: entry.reason ?? '',
        requestedAtMs: Date.parse(entry.time),
        expiresAtMs: Date.parse(entry.expires),
        grant: undefined,
      })
      return
    case 'approval.granted':
      if (known === undefined) return
      approvals.set(id, {
        ...known,
        approvedBy: [...known.approvedBy, personOf(entry)],
        status: entry.complete ? 'approved' : 'pending',
      })
      return
    case 'approval.denied':
      if (known !== undefined) approvals.set(id, { ...known, status: 'denied' })
      return
    case 'approval.expired':
      if (known !== undefined) approvals.set(id, { ...known, status: 'expired' })
      return
    case 'approval.used':
      if (known !== undefined) approvals.set(id, { ...known, status: 'used' })
      return
    default:
  }
}

const personOf = ({ actor }: Entry): string => ('subject' in actor ? `${actor.issuer}/${actor.subject}` : '')
