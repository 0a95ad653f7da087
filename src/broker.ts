import type { RequestId } from './base/ids.ts'
import type { Result } from './base/result.ts'
import type { Secret } from './base/secret.ts'
import type { ApprovalView } from './contract/approval.ts'
import type { CredentialRequest, IssuedCredential, PendingApproval } from './contract/credential.ts'
import type {
  EndedGrant,
  GrantFilter,
  GrantList,
  GrantView,
  Renewed,
  RevocationRequest,
  RevocationResult,
} from './contract/grant.ts'
import type { EntryFilter, EntryList, StoredEntryView } from './contract/ledger.ts'
import type { PolicyStatus } from './contract/policy.ts'
import type { EndedTask, TaskRequest, TaskView } from './contract/task.ts'

/** Who calls, before anything about them is known. `token` is attacker-controlled. */
export interface Caller {
  readonly token: string
  readonly requestId: RequestId
  readonly ip: string
}

/** A minted credential on its way out: everything but the secret may be logged. */
export interface Issued {
  readonly status: 'issued'
  readonly body: Omit<IssuedCredential, 'secret'>
  readonly secret: Secret<Readonly<Record<string, unknown>>>
}

/** A person must say yes first. */
export interface Pending {
  readonly status: 'pending'
  readonly body: PendingApproval
}

/** Every verb verifies the caller, refuses by value, records what it did, and throws `BrokerFault` when something it needs failed. */
export interface Broker {
  issue(caller: Caller, request: CredentialRequest): Promise<Result<Issued | Pending>>
  grant(caller: Caller, id: string): Promise<Result<GrantView>>
  grants(caller: Caller, filter: GrantFilter): Promise<Result<GrantList>>
  renew(caller: Caller, id: string, ttl: string | undefined): Promise<Result<Renewed>>
  revoke(caller: Caller, id: string, reason: string | undefined): Promise<Result<EndedGrant>>
  revokeMatching(caller: Caller, request: RevocationRequest): Promise<Result<RevocationResult>>
  openTask(caller: Caller, request: TaskRequest): Promise<Result<TaskView>>
  task(caller: Caller, id: string): Promise<Result<TaskView>>
  heartbeat(caller: Caller, id: string): Promise<Result<TaskView>>
  endTask(caller: Caller, id: string, outcome: string | undefined): Promise<Result<EndedTask>>
  approval(caller: Caller, id: string): Promise<Result<ApprovalView>>
  approvals(caller: Caller): Promise<Result<readonly ApprovalView[]>>
  approve(caller: Caller, id: string, reason: string | undefined): Promise<Result<ApprovalView>>
  denyApproval(caller: Caller, id: string, reason: string | undefined): Promise<Result<ApprovalView>>
  entries(caller: Caller, filter: EntryFilter): Promise<Result<EntryList>>
  entry(caller: Caller, index: number): Promise<Result<StoredEntryView>>
  reloadPolicies(caller: Caller): Promise<Result<PolicyStatus>>
}
