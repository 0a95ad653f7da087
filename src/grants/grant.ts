import type { CompositeId, GrantId, TaskId } from '../base/ids.ts'
import type { Delivery } from '../contract/credential.ts'
import type { MintTarget, PublicId } from '../engines/engine.ts'
import type { EndReason, EntryBody } from '../ledger/entry.ts'
import type { Access, Ceiling } from '../policy/decision.ts'

export type GrantOutcome = 'revoked' | 'expired' | 'expires_only' | 'failed' | 'irrevocable' | 'gone'

/** One issued credential's life: `pending → minting → active → ending → ended`. Never holds the secret. */
export interface Grant {
  readonly id: GrantId
  readonly status: 'pending' | 'minting' | 'active' | 'ending' | 'ended'
  readonly workload: string
  readonly issuer: string
  readonly subject: string
  readonly owner: string
  readonly purpose: string
  readonly environment: string
  readonly credential: string
  readonly target: Pick<MintTarget, 'engine' | 'mount' | 'role' | 'paramsDigest'>
  readonly delivery: Delivery
  readonly task: TaskId | undefined
  readonly approval: string | undefined
  readonly reason: string
  /** The set it was issued with, all of it or nothing. */
  readonly composite?: CompositeId
  /** The how many-th grant of its task it is. */
  readonly taskGrant?: number
  /** What its caller can recognise it by when the answer was lost, and the grant that it replaces for that reason. */
  readonly retry?: RetryKey & { readonly replaces?: GrantId }
  /** The caller's parameters, sealed; kept where it can be renewed, which is decided over them again. */
  readonly params?: string
  readonly openedAtMs: number
  readonly issuedAtMs: number | undefined
  /** When the grant ends at the latest, and the secret with it unless it is static; absent before issuance. */
  readonly expiresAtMs: number | undefined
  readonly endedAtMs: number | undefined
  readonly ceilings: readonly Ceiling[]
  /** Digest of the policies that it was last decided under; empty before its intent. */
  readonly policy: string
  readonly renewable: boolean
  readonly revocable: boolean
  /** The secret outlives the grant (a stored value). */
  readonly static: boolean
  readonly lease: { readonly hash: string; readonly sealed: string } | undefined
  /** Which of the broker's own Vault tokens the lease dies with. */
  readonly generation: number | undefined
  readonly ids: readonly PublicId[]
  /** Why it must end, from the moment somebody or something decided so. */
  readonly cause: EndReason | undefined
  readonly outcome: GrantOutcome | undefined
  /** The order to revoke that it falls under. */
  readonly revocation: string | undefined
  /** When it was recorded that it must end: latency counts from here, however many attempts it takes. */
  readonly endingAtMs: number | undefined
  /** How long ending it took, once it has ended. */
  readonly latencyMs: number | undefined
  /** Failed attempts to revoke so far, and when to try again. */
  readonly attempts: number
  readonly retryAtMs: number | undefined
  /** A critical finding says that Vault would not revoke it; slow retries go on. */
  readonly irrevocable: boolean
  /** The answer to its mint can no longer come, so nobody waits for it: what it left in Vault is for reconciling. */
  readonly mintLost: boolean
  readonly ledger: { readonly intent: number; readonly issued: number | undefined; readonly ended: number | undefined }
}

/** An Idempotency-Key as it is remembered: SHA-256 over workload, purpose and key, and the same with the request. */
export interface RetryKey {
  readonly key: string
  readonly request: string
}

/** The entries that move a grant, and what else does. */
export type GrantEntry = Extract<
  EntryBody,
  {
    kind:
      | 'grant.intent'
      | 'grant.issued'
      | 'grant.failed'
      | 'grant.renewed'
      | 'grant.shortened'
      | 'grant.ending'
      | 'grant.ended'
  }
>

/** Where a grant comes from: the token's issuer and subject, the request, the task and approval it rests on. */
export type GrantOrigin = Pick<
  Grant,
  'issuer' | 'subject' | 'reason' | 'task' | 'approval' | 'composite' | 'retry' | 'params'
>

/** What no grant has before it is issued. */
const unborn = {
  issuedAtMs: undefined,
  expiresAtMs: undefined,
  endedAtMs: undefined,
  policy: '',
  renewable: false,
  revocable: false,
  static: false,
  lease: undefined,
  generation: undefined,
  ids: [],
  cause: undefined,
  outcome: undefined,
  revocation: undefined,
  endingAtMs: undefined,
  latencyMs: undefined,
  attempts: 0,
  retryAtMs: undefined,
  irrevocable: false,
  mintLost: false,
  ledger: { intent: -1, issued: undefined, ended: undefined },
} as const

/** A grant before its intent is recorded: it only holds its place under the limits. */
export function openGrant(id: GrantId, access: Access, from: GrantOrigin, nowMs: number): Grant {
  const { credential: _, params: __, ...target } = access.target
  return {
    id,
    status: 'pending',
    workload: access.workload,
    owner: access.owner,
    purpose: access.purpose,
    environment: access.environment,
    credential: access.credential,
    target,
    delivery: access.delivery,
    ...from,
    openedAtMs: nowMs,
    ...unborn,
    ceilings: access.ceilings,
  }
}

/** The grant that an intent entry opens; replaying the ledger starts each grant here. */
export function grantOfIntent(
  entry: Extract<GrantEntry, { kind: 'grant.intent' }>,
  nowMs: number,
  index: number,
): Grant {
  const from = entry.actor.type === 'workload' ? entry.actor : { issuer: '', subject: '' }
  return {
    id: (entry.grant ?? '') as GrantId,
    status: 'minting',
    workload: entry.workload ?? '',
    issuer: from.issuer ?? '',
    subject: from.subject,
    owner: entry.owner ?? '',
    purpose: entry.purpose ?? '',
    environment: entry.environment ?? '',
    credential: entry.credential ?? '',
    target: {
      engine: entry.engine,
      mount: entry.mount,
      role: entry.role,
      ...(entry.params === undefined ? {} : { paramsDigest: entry.params }),
    },
    delivery: entry.delivery,
    task: entry.task as TaskId | undefined,
    approval: entry.approval,
    reason: entry.reason ?? '',
    ...(entry.composite !== undefined && { composite: entry.composite as CompositeId }),
    ...(entry.task_grant !== undefined && { taskGrant: entry.task_grant }),
    ...(entry.idempotency_key !== undefined && { retry: retryOf(entry, entry.idempotency_key) }),
    ...(entry.caller_params !== undefined && { params: entry.caller_params }),
    openedAtMs: nowMs,
    ...unborn,
    ceilings: entry.ceilings,
    policy: entry.policy ?? '',
    ledger: { ...unborn.ledger, intent: index },
  }
}

type Intent = Extract<GrantEntry, { kind: 'grant.intent' }>

const retryOf = ({ idempotency_request: request, replaces }: Intent, key: string): NonNullable<Grant['retry']> => ({
  key,
  request: request ?? '',
  ...(replaces !== undefined && { replaces: replaces as GrantId }),
})

const legal: Readonly<Record<GrantEntry['kind'], readonly Grant['status'][]>> = {
  'grant.intent': ['pending'],
  // A switch may be pulled while Vault still mints: the grant is then `ending` and learns its lease on the way.
  'grant.issued': ['minting', 'ending'],
  'grant.failed': ['pending', 'minting', 'ending'],
  'grant.renewed': ['active'],
  'grant.shortened': ['active'],
  'grant.ending': ['minting', 'active', 'ending'],
  'grant.ended': ['active', 'ending'],
}

/** Whether an entry of that kind may follow in that status. */
export const mayFollow = (status: Grant['status'], kind: GrantEntry['kind']): boolean => legal[kind].includes(status)

/**
 * What the grant is after that entry: the one transition function, for live work and for replay. Pure.
 * @throws Error when the entry may not follow, which is a defect of the caller or a forged ledger.
 */
export function advance(grant: Grant, entry: GrantEntry, nowMs: number, index: number): Grant {
  if (!mayFollow(grant.status, entry.kind)) throw new Error(`${entry.kind} may not follow in status ${grant.status}`)
  switch (entry.kind) {
    case 'grant.intent':
      return {
        ...grant,
        status: 'minting',
        openedAtMs: nowMs,
        policy: entry.policy ?? '',
        ledger: { ...grant.ledger, intent: index },
      }
    case 'grant.issued':
      return {
        ...grant,
        status: grant.status === 'ending' ? 'ending' : 'active',
        issuedAtMs: nowMs,
        expiresAtMs: entry.expires === undefined ? undefined : Date.parse(entry.expires),
        renewable: entry.renewable,
        revocable: entry.revocable,
        static: entry.static,
        lease: entry.lease,
        generation: entry.generation,
        ids: entry.ids,
        ledger: { ...grant.ledger, issued: index },
      }
    case 'grant.failed':
      return ended(grant, 'failed', 'issuance_failed', nowMs, index)
    case 'grant.renewed':
    case 'grant.shortened':
      return { ...grant, expiresAtMs: Date.parse(entry.expires), policy: entry.policy ?? grant.policy }
    case 'grant.ending':
      return {
        ...grant,
        status: 'ending',
        cause: grant.cause ?? entry.cause,
        revocation: grant.revocation ?? entry.revocation,
        endingAtMs: grant.endingAtMs ?? nowMs,
      }
    case 'grant.ended':
      return { ...ended(grant, entry.outcome, entry.cause, nowMs, index), latencyMs: entry.latency_ms }
  }
}

function ended(grant: Grant, outcome: GrantOutcome, cause: EndReason, nowMs: number, index: number): Grant {
  // What is sealed is of no more use; letting go of it halves what an ended grant weighs.
  const { params: _, ...kept } = grant
  return {
    ...kept,
    status: 'ended',
    outcome,
    cause,
    endedAtMs: nowMs,
    retryAtMs: undefined,
    irrevocable: false,
    lease: grant.lease && { hash: grant.lease.hash, sealed: '' },
    ledger: { ...grant.ledger, ended: index },
  }
}

/**
 * Until when the secret of an ended grant works all the same, because nothing could end it with the grant: the time it expires, or
 * `rotated` for a stored value. `undefined` for a grant that is live, and for one whose secret ended with it.
 */
export function worksUntil(grant: Grant): number | 'rotated' | undefined {
  if (grant.status !== 'ended' || grant.outcome !== 'expires_only') return undefined
  if (grant.static) return 'rotated'
  return grant.expiresAtMs
}

/**
 * The last moment any renewal may reach: every ceiling but the request's own, counted from issuance. `now` are the ceilings of
 * a decision made since; of those, what is an instant and not a length of time is left to the decision itself.
 */
export function latestEndMs(grant: Grant, now: readonly Ceiling[] = []): number | undefined {
  const standing = [
    ...grant.ceilings.filter(({ name }) => name !== 'request'),
    ...now.filter(({ name }) => !instants.has(name)),
  ]
  if (standing.length === 0 || grant.issuedAtMs === undefined) return undefined
  return grant.issuedAtMs + Math.min(...standing.map(({ seconds }) => seconds)) * 1000
}

const instants: ReadonlySet<string> = new Set(['request', 'task', 'purpose until'])
