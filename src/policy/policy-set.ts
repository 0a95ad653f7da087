import type { Delivery } from '../contract/credential.ts'
import type { MintTarget } from '../engines/engine.ts'
import type { Claims } from '../identity/identity.ts'
import type { CelCredential, CelIssuer, CelPurpose, CelWorkload, Condition } from './condition.ts'
import type { ExceptionPolicy } from './exception.ts'
import type { GuardrailPolicy } from './guardrail.ts'
import type { IssuerPolicy } from './issuer.ts'
import type { ClaimRule } from './match.ts'
import type { TeamPolicy } from './team.ts'
import type { PurposePolicy, WorkloadPolicy } from './workload.ts'

/** A Credential document ready to decide by. */
export interface CompiledCredential {
  readonly name: string
  readonly target: MintTarget
  readonly environment: string
  readonly sensitivity: 'low' | 'medium' | 'high'
  readonly data: readonly string[]
  /** The broker alone uses the role, so an unknown lease of it is an orphan. */
  readonly exclusive: boolean
  /** The secret does not end: kv. */
  readonly isStatic: boolean
  /** The secret is the same for everyone who gets it: kv, and static roles of databases. */
  readonly isShared: boolean
  /** Seconds that one value of a static secret may stand. */
  readonly rotateEverySeconds: number | undefined
  readonly accepts: readonly string[]
  /** Parameters of the caller: the engine's own and `accepts`. */
  readonly params: ReadonlyMap<string, 'required' | 'optional'>
  readonly delivery: readonly Delivery[]
  readonly maxSeconds: number | undefined
  readonly cel: CelCredential
}

/** An Exception document ready to decide by. */
export interface CompiledException {
  readonly name: string
  readonly untilMs: number
  readonly maxSeconds: number | undefined
}

/** What a purpose asks of the tasks that work for it. */
export interface TaskRule {
  readonly required: boolean
  readonly derive: boolean
  readonly heartbeatSeconds: number | undefined
  readonly maxSeconds: number | undefined
  readonly grants: number | undefined
  readonly active: number | undefined
}

/** One purpose ready to decide by. */
export interface CompiledPurpose {
  readonly policy: PurposePolicy
  readonly defaultSeconds: number
  readonly maxSeconds: number
  readonly untilMs: number | undefined
  readonly review: { readonly everyMs: number; readonly lastMs: number } | undefined
  readonly when: Condition | undefined
  /** `undefined` where the purpose says nothing of tasks. */
  readonly task: TaskRule | undefined
  readonly credentials: readonly CompiledCredential[]
  /** Exceptions by the rule they relax; the one that lasts longest. */
  readonly exceptions: ReadonlyMap<ExceptionPolicy['relaxes'], CompiledException>
  readonly cel: CelPurpose
}

/** One workload ready to decide by. */
export interface CompiledWorkload {
  readonly name: string
  readonly policy: WorkloadPolicy
  readonly rules: readonly ClaimRule[]
  readonly purposes: ReadonlyMap<string, CompiledPurpose>
  readonly cel: CelWorkload
}

/** One guardrail ready to decide by. */
export interface CompiledGuardrail {
  readonly name: string
  readonly policy: GuardrailPolicy
  readonly applies: { readonly [K in keyof GuardrailPolicy['applies']]?: ReadonlySet<string> }
  readonly maxSeconds: number | undefined
  readonly deny: true | Condition | undefined
}

/** Something about the policies that is allowed and still worth a look. */
export interface PolicyWarning {
  readonly file: string
  readonly line: number
  readonly col: number
  readonly message: string
  readonly fix: string
}

/** Finds the workloads that a token fits. The cost grows with the token, not with the number of workloads. */
export interface WorkloadIndex {
  /** Every workload whose issuer and claims fit, in the order of their names. */
  match(issuer: string, claims: Claims): readonly CompiledWorkload[]
}

/** All policies, checked, indexed and never changed: what a decision is made from. */
export interface PolicySet {
  /** SHA-256 over all documents, whatever their order or the files they are in. */
  readonly digest: string
  readonly issuers: readonly IssuerPolicy[]
  readonly teams: readonly TeamPolicy[]
  readonly credentials: readonly CompiledCredential[]
  readonly workloads: readonly CompiledWorkload[]
  readonly exceptions: readonly ExceptionPolicy[]
  /** In the order of their names, which is the order in which decisions look at them. */
  readonly guardrails: readonly CompiledGuardrail[]
  readonly warnings: readonly PolicyWarning[]
  readonly workloadCount: number
  readonly byName: {
    readonly issuer: ReadonlyMap<string, { readonly policy: IssuerPolicy; readonly cel: CelIssuer }>
    readonly team: ReadonlyMap<string, TeamPolicy>
    readonly credential: ReadonlyMap<string, CompiledCredential>
    readonly workload: ReadonlyMap<string, CompiledWorkload>
  }
  /** Finds the workloads of a token without looking at all of them. */
  readonly index: WorkloadIndex
  /** Teams of each person, by issuer and subject; see `personKey`. */
  readonly people: ReadonlyMap<string, readonly TeamPolicy[]>
}

/** Joins the parts of a person's key; neither part can hold the separator. */
export const personKey = (issuer: string, subject: string): string => `${issuer}\n${subject}`
