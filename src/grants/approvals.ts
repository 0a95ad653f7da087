import type { Clock } from '../base/clock.ts'
import { type ApprovalId, type GrantId, newId } from '../base/ids.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { ApprovalView } from '../contract/approval.ts'
import { timeText } from '../contract/fields.ts'
import type { EntryBody } from '../ledger/entry.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Access } from '../policy/decision.ts'
import type { Indexing, State } from '../state/state.ts'
import type { Provenance } from './provenance.ts'
import { keepEndedMs } from './registry.ts'

/** A person's yes or no to one exact request. */
export interface Approval {
  readonly id: ApprovalId
  readonly status: 'pending' | 'approved' | 'denied' | 'expired' | 'used'
  readonly level: 'owner' | 'two-person'
  readonly approvers: readonly string[]
  /** `issuer/subject` of each person who said yes. */
  readonly approvedBy: readonly string[]
  readonly digest: string
  readonly workload: string
  /** `issuer/subject` of whoever asked, who can never be the one to approve. */
  readonly requester: string
  readonly owner: string
  readonly purpose: string
  readonly environment: string
  /** What it is for: one credential, or those of a set. */
  readonly credentials: readonly string[]
  readonly ttlSeconds: number
  readonly reason: string
  readonly requestedAtMs: number
  readonly expiresAtMs: number
  readonly grant: GrantId | undefined
}

export interface Approvals {
  /** The pending approval for exactly this request: a new one, or the one already asked for. Refuses `limit_reached`. */
  ask(accesses: readonly [Access, ...Access[]], order: AskOrder): Promise<Result<Approval>>
  get(id: string): Promise<Approval | undefined>
  pendingFor(teams: readonly string[]): Promise<readonly Approval[]>
  /** Refuses `role_required` to the requester and to those whose team may not, `state_conflict` when it is settled. */
  settle(id: string, verdict: Verdict): Promise<Result<Approval>>
  /** Spends the approval for the request with that digest. Refuses `approval_denied`, `state_conflict` while pending. */
  use(id: string, digest: string, workload: string, by: Provenance): Promise<Result<Approval>>
  /** Whether the approval was spent on that very request and could still be collected. Refuses `approval_denied`. */
  useAgain(id: string, digest: string, workload: string): Promise<Result<Approval>>
  attach(id: string, grant: GrantId): Promise<void>
  /** Denies whatever is not spent yet and that the person asked for or said yes to. `person` is `issuer/subject`. */
  denyOf(person: string, by: Provenance): Promise<void>
  /** Marks overdue approvals expired. */
  expireDue(limit: number): Promise<void>
  restore(approval: Approval): Promise<void>
}

interface AskOrder {
  readonly level: 'owner' | 'two-person'
  readonly approvers: readonly string[]
  readonly digest: string
  readonly requester: string
  readonly reason: string
  readonly by: Provenance
}

interface Verdict {
  readonly yes: boolean
  readonly person: string
  readonly teams: readonly string[]
  readonly reason: string | undefined
  readonly by: Provenance
}

/** How long a person has to answer, and the yes can be collected. */
const approvalLifeMs = 3600_000
/** Questions of one workload that may wait at once: more would only bury the people who are to answer them. */
const mostPending = 50

const pendingOf = (workload: string): string => `pending=${workload}`

function indexingOf(approval: Approval): Indexing {
  const labels = [`digest=${approval.digest}`, `workload=${approval.workload}`]
  if (approval.status !== 'pending' && approval.status !== 'approved') {
    return { labels, forgetAtMs: approval.expiresAtMs + keepEndedMs }
  }
  const open =
    approval.status === 'pending'
      ? ['pending', pendingOf(approval.workload), ...approval.approvers.map((team) => `approver=${team}`)]
      : ['approved']
  return { labels: [...labels, ...open], dueAtMs: approval.expiresAtMs }
}

export function createApprovals({ state, ledger, clock }: { state: State; ledger: Ledger; clock: Clock }): Approvals {
  const get = async (id: string): Promise<Approval | undefined> =>
    (await state.get('approval', id))?.value as Approval | undefined
  const load = async (ids: readonly string[]): Promise<readonly Approval[]> =>
    (await Promise.all(ids.map(get))).filter((approval) => approval !== undefined)

  /** Moves the approval, or says why it cannot move; `change` sees it as it is at the moment of the swap. */
  async function move(id: string, change: (approval: Approval) => Result<Approval>): Promise<Result<Approval>> {
    for (;;) {
      const stored = await state.get('approval', id)
      if (stored === undefined) return refuse('not_found', 'approval', 'no such approval')
      const next = change(stored.value as Approval)
      if (!next.ok) return next
      if (await state.swap('approval', id, stored.version, next.value, indexingOf(next.value))) return next
    }
  }

  return {
    async ask(accesses, order) {
      const [known] = await load(await state.find('approval', [`digest=${order.digest}`, 'pending'], { limit: 1 }))
      if (known !== undefined && known.expiresAtMs > clock.now()) return ok(known)
      const approval = newApproval(accesses, order, clock.now())
      const place = { label: pendingOf(approval.workload), max: mostPending }
      const { outcome } = await state.insert('approval', approval.id, approval, indexingOf(approval), [place])
      if (outcome === 'limited') return limited()
      const requested: EntryBody = {
        ...about(approval),
        ...order.by,
        kind: 'approval.requested',
        level: approval.level,
        approvers: [...approval.approvers],
        digest: approval.digest,
        credentials: approval.credentials.length === 1 ? undefined : [...approval.credentials],
        ttl: approval.ttlSeconds,
        reason: order.reason === '' ? undefined : order.reason,
        expires: timeText(approval.expiresAtMs),
      }
      try {
        await ledger.append(requested)
      } catch (fault) {
        // What is not on record was never asked.
        await move(approval.id, (present) => ok({ ...present, status: 'expired' }))
        throw fault
      }
      return ok(approval)
    },
    get,
    async pendingFor(teams) {
      const ids = await Promise.all(
        teams.map((team) => state.find('approval', ['pending', `approver=${team}`], { limit: 500 })),
      )
      return load([...new Set(ids.flat())])
    },
    async settle(id, verdict) {
      const moved = await move(id, (approval) => judge(approval, verdict, clock.now()))
      if (moved.ok) await ledger.append({ ...about(moved.value), ...verdict.by, ...verdictEntry(moved.value, verdict) })
      return moved
    },
    async use(id, digest, workload, by) {
      const used = await move(id, (approval) => spend(approval, digest, workload, clock.now()))
      if (used.ok) await ledger.append({ ...about(used.value), ...by, kind: 'approval.used' })
      return used
    },
    async useAgain(id, digest, workload) {
      const approval = await get(id)
      if (approval?.status !== 'used' || approval.workload !== workload || approval.digest !== digest)
        return refuse('approval_denied', 'approval.digest', 'it was given for a different request')
      if (approval.expiresAtMs <= clock.now()) return refuse('approval_denied', 'approval.status', 'it has expired')
      return ok(approval)
    },
    async attach(id, grant) {
      await move(id, (approval) => ok({ ...approval, grant }))
    },
    async denyOf(person, by) {
      for (const label of ['pending', 'approved']) {
        for (const approval of await load(await state.find('approval', [label], { limit: 1_000_000 }))) {
          if (!concerns(approval, person)) continue
          const moved = await move(approval.id, (present) =>
            isOpen(present) ? ok({ ...present, status: 'denied' }) : refuse('state_conflict', 'approval', 'settled'),
          )
          if (moved.ok)
            await ledger.append({
              ...about(moved.value),
              ...by,
              kind: 'approval.denied',
              reason: 'the person has left',
            })
        }
      }
    },
    async expireDue(limit) {
      for (const id of await state.due('approval', clock.now(), limit)) {
        const moved = await move(id, (approval) =>
          isOpen(approval) ? ok({ ...approval, status: 'expired' }) : refuse('state_conflict', 'approval', 'settled'),
        )
        if (!moved.ok) continue
        await ledger.append({
          ...about(moved.value),
          kind: 'approval.expired',
          actor: { type: 'broker', reason: 'sweep' },
        })
      }
    },
    async restore(approval) {
      await state.insert('approval', approval.id, approval, indexingOf(approval))
    },
  }
}

const isOpen = ({ status }: Approval): boolean => status === 'pending' || status === 'approved'
const concerns = ({ requester, approvedBy }: Approval, person: string): boolean =>
  requester === person || approvedBy.includes(person)

const limited = (): Result<never> =>
  refuse('limit_reached', 'approvals.pending', `${mostPending} wait for an answer already`, 60)

function newApproval(accesses: readonly [Access, ...Access[]], order: AskOrder, now: number): Approval {
  const [access] = accesses
  return {
    id: newId('ap', now),
    status: 'pending',
    level: order.level,
    approvers: order.approvers,
    approvedBy: [],
    digest: order.digest,
    workload: access.workload,
    requester: order.requester,
    owner: access.owner,
    purpose: access.purpose,
    environment: access.environment,
    credentials: accesses.map(({ credential }) => credential),
    ttlSeconds: Math.max(...accesses.map(({ ttlSeconds }) => ttlSeconds)),
    reason: order.reason,
    requestedAtMs: now,
    expiresAtMs: now + approvalLifeMs,
    grant: undefined,
  }
}

function judge(approval: Approval, verdict: Verdict, now: number): Result<Approval> {
  // A stranger learns nothing about the approval, not even whether it is settled.
  if (!verdict.teams.some((team) => approval.approvers.includes(team))) {
    return refuse('role_required', 'approval.approvers', `needs a member of ${approval.approvers.join(', ')}`)
  }
  if (subjectOf(verdict.person) === subjectOf(approval.requester))
    return refuse('role_required', 'approval.requester', 'the requester may not approve')
  if (approval.status !== 'pending' || approval.expiresAtMs <= now) {
    return refuse('state_conflict', 'approval.status', `it is ${approval.status}`)
  }
  if (!verdict.yes) return ok({ ...approval, status: 'denied' })
  // One person may be known under several issuers; the same subject twice is taken for the same person.
  if (approval.approvedBy.map(subjectOf).includes(subjectOf(verdict.person))) {
    return refuse('state_conflict', 'approval.two-person', 'the second yes must come from someone else')
  }
  const approvedBy = [...approval.approvedBy, verdict.person]
  return ok({ ...approval, approvedBy, status: approvedBy.length >= needed(approval) ? 'approved' : 'pending' })
}

function spend(approval: Approval, digest: string, workload: string, now: number): Result<Approval> {
  if (approval.workload !== workload)
    return refuse('approval_denied', 'approval.workload', 'it was asked by another workload')
  if (approval.digest !== digest)
    return refuse('approval_denied', 'approval.digest', 'it was given for a different request')
  if (approval.status === 'pending' && approval.expiresAtMs > now) {
    return refuse('state_conflict', 'approval.status', 'nobody has answered yet')
  }
  if (approval.status !== 'approved' || approval.expiresAtMs <= now) {
    return refuse('approval_denied', 'approval.status', `it is ${approval.status}`)
  }
  return ok({ ...approval, status: 'used' })
}

// The name of an Issuer holds no slash.
const subjectOf = (person: string): string => person.slice(person.indexOf('/') + 1)

const needed = (approval: Approval): number => (approval.level === 'two-person' ? 2 : 1)

function verdictEntry(approval: Approval, verdict: Verdict) {
  return verdict.yes
    ? { kind: 'approval.granted' as const, reason: verdict.reason, complete: approval.status === 'approved' }
    : { kind: 'approval.denied' as const, reason: verdict.reason }
}

const about = (approval: Approval) => ({
  workload: approval.workload,
  owner: approval.owner,
  purpose: approval.purpose,
  environment: approval.environment,
  credential: approval.credentials.length === 1 ? approval.credentials[0] : undefined,
  approval: approval.id,
})

const oneOrAll = ([first = '', ...others]: readonly string[]): string | string[] =>
  others.length === 0 ? first : [first, ...others]

/** The approval as its requester and its approvers see it. */
export const approvalView = (approval: Approval): ApprovalView => ({
  approval: approval.id,
  status: approval.status,
  level: approval.level,
  approvers: [...approval.approvers],
  approved_by: [...approval.approvedBy],
  workload: approval.workload,
  purpose: approval.purpose,
  credential: oneOrAll(approval.credentials),
  environment: approval.environment,
  ttl_seconds: approval.ttlSeconds,
  reason: approval.reason,
  requested_at: timeText(approval.requestedAtMs),
  expires_at: timeText(approval.expiresAtMs),
  grant: approval.grant ?? null,
})
