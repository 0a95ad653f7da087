import { randomUUID } from 'node:crypto'
import type { z } from 'zod'
import { type ApprovalView, approvalSchema } from '../contract/approval.ts'
import {
  type CredentialRequest,
  type IssuedCredential,
  type IssuedSet,
  issuedCredentialSchema,
  issuedSetSchema,
  type PendingApproval,
  pendingApprovalSchema,
} from '../contract/credential.ts'
import {
  type EndedGrant,
  endedGrantSchema,
  type GrantList,
  type GrantView,
  grantListSchema,
  grantSchema,
  type Renewed,
  renewedSchema,
} from '../contract/grant.ts'
import {
  type Archived,
  archivedSchema,
  type EntryList,
  entryListSchema,
  type StoredEntryView,
  storedEntrySchema,
} from '../contract/ledger.ts'
import { type PolicyStatus, policyStatusSchema } from '../contract/policy.ts'
import {
  type ReconcileResult,
  type ReconcileStatus,
  reconcileResultSchema,
  reconcileStatusSchema,
} from '../contract/reconcile.ts'
import { type RevocationReport, revocationReportSchema } from '../contract/report.ts'
import {
  type RevocationList,
  type RevocationPreview,
  type RevocationRequest,
  type RevocationView,
  revocationListSchema,
  revocationPreviewSchema,
  revocationSchema,
} from '../contract/revocation.ts'
import {
  type EndedTask,
  type EndTaskRequest,
  endedTaskSchema,
  type TaskRequest,
  type TaskView,
  taskSchema,
} from '../contract/task.ts'
import { type Trace, traceSchema } from '../contract/trace.ts'
import { type Answer, type Call, send, type Target } from './broker-call.ts'
import { CommandError, exit } from './command.ts'
import { followEntries } from './event-stream.ts'

/** The broker as the commands see it. Every verb throws `ProblemError` when the broker says no, `CommandError` otherwise. */
export interface BrokerClient {
  /**
   * With a key of its own, so that it can ask again once when the answer is lost: that replaces what nobody has seen. The secret is in
   * the open, also where it came as a JWE.
   */
  issue(request: CredentialRequest): Promise<IssuedCredential | IssuedSet | PendingApproval>
  grant(id: string): Promise<GrantView>
  grants(filter: Readonly<Record<string, string>>): Promise<GrantList>
  renew(grant: string, ttl?: string): Promise<Renewed>
  /** Tries again for a few seconds when the broker cannot be reached: what is not handed back lives on. */
  revoke(grant: string, reason: string | undefined): Promise<EndedGrant>
  /** Orders it; resolves when everything has ended, or when `wait` is over and it is still being carried out. */
  revokeMatching(request: Omit<RevocationRequest, 'dry_run'>): Promise<RevocationView>
  /** What `revokeMatching` would end. */
  previewRevocation(request: Omit<RevocationRequest, 'dry_run'>): Promise<RevocationPreview>
  revocation(id: string): Promise<RevocationView>
  revocations(): Promise<RevocationList>
  liftRevocation(id: string, reason: string | undefined): Promise<RevocationView>
  revocationReport(filter: Readonly<Record<string, string>>): Promise<RevocationReport>
  /** With a key of its own, as `issue`: asked again, the broker answers with the same task. */
  openTask(request: TaskRequest): Promise<TaskView>
  heartbeat(task: string): Promise<TaskView>
  endTask(task: string, request: EndTaskRequest): Promise<EndedTask>
  approval(id: string): Promise<ApprovalView>
  decideApproval(id: string, verdict: 'approve' | 'deny', reason: string | undefined): Promise<ApprovalView>
  policies(): Promise<PolicyStatus>
  reloadPolicies(): Promise<PolicyStatus>
  acceptPolicies(digest: string): Promise<PolicyStatus>
  entries(filter: Readonly<Record<string, string>>): Promise<EntryList>
  trace(q: string): Promise<Trace>
  archive(before: string | number): Promise<Archived>
  reconcile(dryRun: boolean): Promise<ReconcileResult>
  reconcileStatus(): Promise<ReconcileStatus>
  entry(index: number): Promise<StoredEntryView>
  /** The text of a receipt, as it came; tries again for some seconds while no checkpoint covers the entry. */
  receipt(index: number): Promise<string>
  /** Entries that are recorded after the one with index `after`, over one connection; see `followEntries`. */
  events(
    filter: Readonly<Record<string, string>>,
    after: number | undefined,
    stop: AbortSignal,
  ): AsyncIterable<StoredEntryView>
}

// Ending many grants waits for Vault, one after the other.
const endingDeadlineMs = 120_000
// As long as an order may be waited for, and a little.
const orderingDeadlineMs = 330_000
// It may read the entries of a month.
const reportingDeadlineMs = 600_000
// Each bundle is copied and read back.
const archivingDeadlineMs = 600_000
// As long as the broker itself lets it take.
const reconcilingDeadlineMs = 600_000

/** A client of the broker at `url`. A refusal (4xx) is never retried. */
export function createBrokerClient(to: Target): BrokerClient {
  const call = async <S extends z.ZodType>(schema: S, details: Call): Promise<z.output<S>> =>
    understood(schema, await send(to, details), to.url)
  const id = encodeURIComponent
  const post = (path: string, body: object, rest: Partial<Call> = {}): Call => ({ method: 'POST', path, body, ...rest })
  const get = (path: string): Call => ({ method: 'GET', path, retries: 2 })
  return {
    async issue(request) {
      const answer = await send(to, post('/v1/credentials', request, again()))
      if (answer.status === 202) return understood(pendingApprovalSchema, answer, to.url)
      const issued = Array.isArray(request.credential)
        ? understood(issuedSetSchema, answer, to.url)
        : understood(issuedCredentialSchema, answer, to.url)
      try {
        return await openedAll(issued, request, to)
      } catch (error) {
        // Nobody will ever use what could not be opened, or came in the open.
        for (const { grant } of 'credentials' in issued ? issued.credentials : [issued]) {
          await send(to, post(`/v1/grants/${id(grant)}/revoke`, { reason: 'it could not be opened' })).catch(() => {})
        }
        throw error
      }
    },
    grant: (grant) => call(grantSchema, get(`/v1/grants/${id(grant)}`)),
    grants: (filter) => call(grantListSchema, get(`/v1/grants?${new URLSearchParams(filter)}`)),
    renew: (grant, ttl) => call(renewedSchema, post(`/v1/grants/${id(grant)}/renew`, ttl === undefined ? {} : { ttl })),
    revoke: (grant, reason) =>
      call(endedGrantSchema, post(`/v1/grants/${id(grant)}/revoke`, { reason }, { retries: 4, deadlineMs: 10_000 })),
    revokeMatching: (request) =>
      call(revocationSchema, post('/v1/revocations', request, { deadlineMs: orderingDeadlineMs })),
    previewRevocation: (request) =>
      call(revocationPreviewSchema, post('/v1/revocations', { ...request, dry_run: true }, { retries: 2 })),
    revocation: (revocation) => call(revocationSchema, get(`/v1/revocations/${id(revocation)}`)),
    revocations: () => call(revocationListSchema, get('/v1/revocations')),
    liftRevocation: (revocation, reason) =>
      call(revocationSchema, post(`/v1/revocations/${id(revocation)}/lift`, { reason })),
    revocationReport: (filter) =>
      call(revocationReportSchema, {
        ...get(`/v1/reports/revocation?${new URLSearchParams(filter)}`),
        deadlineMs: reportingDeadlineMs,
      }),
    openTask: (request) => call(taskSchema, post('/v1/tasks', request, again())),
    heartbeat: (task) => call(taskSchema, post(`/v1/tasks/${id(task)}/heartbeat`, {}, { retries: 2 })),
    endTask: (task, request) =>
      call(endedTaskSchema, post(`/v1/tasks/${id(task)}/end`, request, { retries: 2, deadlineMs: endingDeadlineMs })),
    approval: (approval) => call(approvalSchema, get(`/v1/approvals/${id(approval)}`)),
    decideApproval: (approval, verdict, reason) =>
      call(approvalSchema, post(`/v1/approvals/${id(approval)}/${verdict}`, { reason })),
    policies: () => call(policyStatusSchema, get('/v1/policies')),
    reloadPolicies: () => call(policyStatusSchema, post('/v1/policies/reload', {}, { deadlineMs: endingDeadlineMs })),
    acceptPolicies: (digest) =>
      call(policyStatusSchema, post('/v1/policies/accept', { digest }, { deadlineMs: endingDeadlineMs })),
    archive: (before) =>
      call(archivedSchema, post('/v1/ledger/archive', { before }, { deadlineMs: archivingDeadlineMs })),
    reconcile: (dryRun) =>
      call(reconcileResultSchema, post('/v1/reconcile', { dry_run: dryRun }, { deadlineMs: reconcilingDeadlineMs })),
    reconcileStatus: () => call(reconcileStatusSchema, get('/v1/reconcile')),
    trace: (q) => call(traceSchema, get(`/v1/trace?${new URLSearchParams({ q })}`)),
    entries: (filter) => call(entryListSchema, get(`/v1/ledger/entries?${new URLSearchParams(filter)}`)),
    entry: (index) => call(storedEntrySchema, get(`/v1/ledger/entries/${index}`)),
    async receipt(index) {
      return (await send(to, { ...get(`/v1/ledger/entries/${index}/receipt`), retries: 6 })).text
    },
    events: (filter, after, stop) => followEntries(to, filter, after, stop),
  }
}

async function openedAll(
  answer: IssuedCredential | IssuedSet,
  request: CredentialRequest,
  to: Target,
): Promise<IssuedCredential | IssuedSet> {
  if (!('credentials' in answer)) return opened(answer, request, to)
  return { ...answer, credentials: await Promise.all(answer.credentials.map((one) => opened(one, request, to))) }
}

/** The credential with its secret in the open, wherever it was encrypted to the key of this client. */
async function opened(issued: IssuedCredential, request: CredentialRequest, to: Target): Promise<IssuedCredential> {
  if (issued.delivery !== 'jwe') {
    if (request.delivery !== 'jwe') return issued
    throw new CommandError(exit.fault, `${to.url} delivered the secret ${issued.delivery}, and jwe was asked for`)
  }
  if (to.prover === undefined) throw new CommandError(exit.fault, 'the secret is encrypted, and no key was proved')
  return { ...issued, secret: await to.prover.open(issued) }
}

/** The same request once more when the answer is lost; the key says that it is the same. */
const again = (): Partial<Call> => ({ headers: { 'idempotency-key': randomUUID() }, retries: 1, lostOnly: true })

function understood<S extends z.ZodType>(schema: S, { json }: Answer, url: string): z.output<S> {
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  const fields = parsed.error.issues.map((issue) => issue.path.join('.') || 'the whole').slice(0, 5)
  throw new CommandError(
    exit.fault,
    `the answer of ${url} is not what this version of writ reads: ${fields.join(', ')}`,
  )
}
