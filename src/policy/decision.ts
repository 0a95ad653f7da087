import type { Reason, Refusal } from '../base/result.ts'
import type { Delivery } from '../contract/credential.ts'
import type { MintTarget } from '../engines/engine.ts'

/** What a caller asks for, after the wire shape was parsed. All text is the caller's. */
export interface AccessRequest {
  readonly purpose: string
  readonly credential: string | undefined
  readonly ttlSeconds: number | undefined
  readonly reason: string
  /** Empty when the request names none; the broker has checked that a named task is open and the caller's own. */
  readonly task: string
  /** When the task ends at the latest. */
  readonly taskEndsAtMs: number | undefined
  readonly params: Readonly<Record<string, string>>
  /** `undefined` takes what the Credential prefers. */
  readonly delivery: Delivery | undefined
  readonly ip: string
}

/** Facts about now that the decision may use; the caller of `decide` reads them from State. */
export interface Counters {
  /** Live grants of this workload and purpose. */
  readonly active: number
  /** Grants opened for this workload and purpose in the last 60 seconds. */
  readonly lastMinute: number
  /** Of the task that the request names: its live grants, and all it was ever given. */
  readonly task?: { readonly active: number; readonly grants: number }
}

/** One upper bound on the life of the credential: `request`, `purpose`, `credential`, `guardrail NAME`, … */
export interface Ceiling {
  readonly name: string
  readonly seconds: number
}

/** Everything the later stages need to know about an access that policy supports. */
export interface Access {
  readonly workload: string
  readonly workloadType: 'service' | 'agent' | 'pipeline' | 'vendor'
  readonly owner: string
  readonly backup: string
  readonly purpose: string
  readonly environment: string
  readonly credential: string
  readonly target: MintTarget
  /** Names of caller parameters the Credential accepts beyond its engine's own. */
  readonly accepts: readonly string[]
  readonly data: readonly string[]
  readonly sensitivity: 'low' | 'medium' | 'high'
  /** What the caller gets: the smallest ceiling. */
  readonly ttlSeconds: number
  /** The ceilings that lowered the life, in order: each below what was asked and below those before it. Empty when uncapped. */
  readonly cappedBy: readonly string[]
  readonly ceilings: readonly Ceiling[]
  readonly delivery: Delivery
  readonly renewable: boolean
  readonly limits: {
    readonly active: number | undefined
    readonly perMinute: number | undefined
    /** Live grants of the request's task, and grants over all of its life. */
    readonly taskActive?: number | undefined
    readonly taskGrants?: number | undefined
  }
  /** The Exception this access rests on, if any. */
  readonly exception: string | undefined
}

/** Who and what the request was about, as far as it became known; for the record of a refusal. */
export interface Subject {
  readonly workload?: string
  readonly owner?: string
  readonly purpose?: string
  readonly environment?: string
  readonly credential?: string
}

/**
 * The answer of policy. `reasons` is ordered as the rules were looked at, passes included, and `policy` is the digest of
 * the set that decided, so that the same inputs give the same bytes.
 */
export type Decision =
  | { readonly effect: 'allow'; readonly access: Access; readonly reasons: readonly Reason[]; readonly policy: string }
  | {
      readonly effect: 'needs_approval'
      readonly access: Access
      readonly level: 'owner' | 'two-person'
      /** Teams whose members may approve. */
      readonly approvers: readonly string[]
      readonly reasons: readonly Reason[]
      readonly policy: string
    }
  | { readonly effect: 'deny'; readonly refusal: Refusal; readonly subject: Subject; readonly policy: string }

/** A verified person in the words of the Team documents. */
export interface Person {
  /** Active or leaving teams that list this subject. */
  readonly teams: readonly string[]
  readonly roles: ReadonlySet<'auditor' | 'operator'>
}
