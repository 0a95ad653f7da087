import { bounded } from '../base/bounded.ts'
import type { Code } from '../base/codes.ts'
import { parseDuration } from '../base/duration.ts'
import { type GrantId, isId, type RequestId } from '../base/ids.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { ApprovalView } from '../contract/approval.ts'
import type { EndedGrant, GrantFilter, GrantList, GrantView } from '../contract/grant.ts'
import type { PolicyStatus } from '../contract/policy.ts'
import type { ReconcileRequest, ReconcileResult, ReconcileStatus } from '../contract/reconcile.ts'
import type { RevocationReport, RevocationReportFilter } from '../contract/report.ts'
import type { RevocationList, RevocationRequest, RevocationResult, RevocationView } from '../contract/revocation.ts'
import type { EndedTask, EndTaskRequest, TaskRequest, TaskView } from '../contract/task.ts'
import { type Approval, approvalView } from '../grants/approvals.ts'
import { isOperator, mayEnd, mayReadLog, maySee } from '../grants/authority.ts'
import type { Grant } from '../grants/grant.ts'
import { byBroker } from '../grants/provenance.ts'
import { type Task, taskView } from '../grants/tasks.ts'
import { standing } from '../policy/decide.ts'
import type { Caller } from './caller.ts'
import { taskEndsAtMs } from './derived-task.ts'
import type { Entered } from './desk.ts'
import { listGrants } from './list.ts'
import { createRecordVerbs, type RecordVerbs } from './record.ts'
import { retryKey } from './retry.ts'
import { createRevocationReport } from './revocation-report.ts'
import type { Stages } from './stages.ts'
import { liftOrder, listOrders, pullSwitch, readOrder } from './switch.ts'
import { grantView } from './views.ts'

/** Everything but issuing and renewing: looking, ending, tasks, approvals, the record. */
export interface Verbs extends RecordVerbs {
  grant(caller: Caller, id: string): Promise<Result<GrantView>>
  grants(caller: Caller, filter: GrantFilter): Promise<Result<GrantList>>
  revoke(caller: Caller, id: string, reason: string | undefined): Promise<Result<EndedGrant>>
  revokeMatching(caller: Caller, request: RevocationRequest): Promise<Result<RevocationResult>>
  revocations(caller: Caller): Promise<Result<RevocationList>>
  revocation(caller: Caller, id: string): Promise<Result<RevocationView>>
  liftRevocation(caller: Caller, id: string, reason: string | undefined): Promise<Result<RevocationView>>
  revocationReport(caller: Caller, filter: RevocationReportFilter): Promise<Result<RevocationReport>>
  openTask(caller: Caller, request: TaskRequest, key?: string): Promise<Result<TaskView>>
  task(caller: Caller, id: string): Promise<Result<TaskView>>
  heartbeat(caller: Caller, id: string): Promise<Result<TaskView>>
  endTask(caller: Caller, id: string, request: EndTaskRequest): Promise<Result<EndedTask>>
  approval(caller: Caller, id: string): Promise<Result<ApprovalView>>
  approvals(caller: Caller): Promise<Result<readonly ApprovalView[]>>
  approve(caller: Caller, id: string, reason: string | undefined): Promise<Result<ApprovalView>>
  denyApproval(caller: Caller, id: string, reason: string | undefined): Promise<Result<ApprovalView>>
  /** Takes one security event token; its signature is what vouches for the sender. */
  receiveSignal(text: string, request: RequestId): Promise<Result<void>>
  policies(caller: Caller): Promise<Result<PolicyStatus>>
  reloadPolicies(caller: Caller): Promise<Result<PolicyStatus>>
  /** Lets the policies in force end what was held back from them. */
  acceptPolicies(caller: Caller, digest: string): Promise<Result<PolicyStatus>>
  /** Compares the leases in Vault with the ledger now; for operators. Refuses `state_conflict` while another does. */
  reconcile(caller: Caller, request: ReconcileRequest): Promise<Result<ReconcileResult>>
  /** The round under way and what the last one came to; for operators. */
  reconcileStatus(caller: Caller): Promise<Result<ReconcileStatus>>
  /** Ends a grant whose secret never reached its caller. Never rejects: the sweep goes on with what fails. */
  endUndelivered(id: GrantId): Promise<void>
}

/** Something is not there, was not asked rightly, or has to wait: nobody was turned away. */
const noDecision: ReadonlySet<Code> = new Set<Code>(['not_found', 'request_invalid', 'draining'])

export function createVerbs(stages: Stages): Verbs {
  const revocationReport = createRevocationReport(stages)
  const { desk, registry, tasks, approvals, ender, clock } = stages

  /** Verifies the caller, then runs the verb. A refusal of the verb is recorded, unless it was no decision. */
  async function entered<T>(
    caller: Caller,
    verb: (entered: Entered) => Promise<Result<T>>,
    about: object = {},
  ): Promise<Result<T>> {
    const who = await desk.enter(caller)
    if (!who.ok) return who
    const result = await verb(who.value)
    if (result.ok || noDecision.has(result.refusal.code)) return result
    return desk.refused(who.value, result.refusal, about)
  }

  /** What the caller may not see answers exactly like what is not there. */
  async function seenGrant({ party }: Entered, id: string): Promise<Result<Grant>> {
    const grant = isId('gr', id) ? await registry.get(id) : undefined
    return grant !== undefined && maySee(party, grant) ? ok(grant) : refuse('not_found', 'grant', 'no such grant')
  }
  async function seenTask({ party }: Entered, id: string): Promise<Result<Task>> {
    const task = isId('tsk', id) ? await tasks.get(id) : undefined
    return task !== undefined && maySee(party, task) ? ok(task) : refuse('not_found', 'task', 'no such task')
  }
  const maySeeApproval = ({ party }: Entered, approval: Approval): boolean =>
    maySee(party, approval) || approval.approvers.some((team) => party.person?.teams.includes(team))

  const policyStatus = (): PolicyStatus => ({ ...stages.policies.status(), ...stages.justified.status() })

  const verdict = (caller: Caller, id: string, yes: boolean, reason: string | undefined) =>
    entered<ApprovalView>(
      caller,
      async (who) => {
        const { party, by } = who
        const teams = party.person?.teams ?? []
        const settled = await approvals.settle(id, { yes, person: party.name, teams, reason, by })
        return settled.ok ? ok(approvalView(settled.value)) : settled
      },
      { approval: isId('ap', id) ? id : undefined },
    )

  return {
    ...createRecordVerbs(stages, entered),
    grant: (caller, id) =>
      entered(caller, async (who) => {
        const grant = await seenGrant(who, id)
        return grant.ok ? ok(grantView(grant.value)) : grant
      }),
    grants: (caller, filter) => entered(caller, async ({ party }) => ok(await listGrants(registry, party, filter))),
    revoke: (caller, id, reason) =>
      entered(
        caller,
        async (who) => {
          const grant = await seenGrant(who, id)
          if (!grant.ok) return grant
          if (!mayEnd(who.party, grant.value))
            return refuse('role_required', 'grant.end', 'needs the holder, the owner or an operator')
          const cause = who.party.workload === grant.value.workload ? 'handed_back' : 'revoked'
          return ok(await ender.end(grant.value, { cause, reason, by: who.by }))
        },
        { grant: id },
      ),
    revokeMatching: (caller, request) => entered(caller, (who) => pullSwitch(stages, who, request)),
    revocations: (caller) => entered(caller, async (who) => listOrders(stages, who)),
    revocation: (caller, id) => entered(caller, (who) => readOrder(stages, who, id)),
    liftRevocation: (caller, id, reason) => entered(caller, (who) => liftOrder(stages, who, id, reason)),
    revocationReport: (caller, filter) => entered(caller, (who) => revocationReport(who, filter)),
    openTask: (caller, request, key) =>
      entered(
        caller,
        async (who) => {
          const stand = standing(who.policies, who.identity, request.purpose, clock.now())
          if (!stand.ok) return stand
          const unanswered = stages.signals.unanswered(who.policies, stand.value.workload)
          if (unanswered !== undefined) return { ok: false, refusal: unanswered }
          const { workload, owner, purpose, environment } = stand.value
          const opened = await tasks.open(
            {
              workload,
              owner,
              purpose,
              environment,
              intent: bounded(request.intent),
              expiresAtMs: taskEndsAtMs(stand.value, clock.now(), parseDuration(request.ttl ?? '')),
              heartbeatSeconds: stand.value.task?.heartbeatSeconds,
              ...(key !== undefined && { retry: retryKey(workload, purpose, key, request) }),
            },
            who.by,
          )
          return opened.ok ? ok(taskView(opened.value)) : opened
        },
        { purpose: request.purpose },
      ),
    task: (caller, id) =>
      entered(caller, async (who) => {
        const task = await seenTask(who, id)
        return task.ok ? ok(taskView(task.value)) : task
      }),
    heartbeat: (caller, id) =>
      entered(caller, async (who) => {
        const task = await seenTask(who, id)
        if (!task.ok) return task
        if (who.party.workload !== task.value.workload)
          return refuse('role_required', 'task.heartbeat', 'only its holder can say that it is alive')
        // Work whose reason is gone is not kept alive; what the policies end, they end.
        const stand = standing(who.policies, who.identity, task.value.purpose, clock.now())
        if (!stand.ok) return stand
        const heard = await tasks.hear(task.value.id)
        return heard.ok ? ok(taskView(heard.value)) : heard
      }),
    endTask: (caller, id, { outcome, idle }) =>
      entered(
        caller,
        async (who) => {
          const task = await seenTask(who, id)
          if (!task.ok) return task
          if (!mayEnd(who.party, task.value))
            return refuse('role_required', 'task.end', 'needs the holder, the owner or an operator')
          if (idle === true && (await registry.liveOfTask(task.value.id)) > 0)
            return refuse('state_conflict', 'task.idle', 'something still hangs on it')
          const cause = who.party.workload === task.value.workload ? 'holder' : 'revoked'
          const grants = await tasks.end(task.value, { cause, outcome, by: who.by })
          return ok({ task: task.value.id, status: 'ended', grants: [...grants] })
        },
        { task: id },
      ),
    approval: (caller, id) =>
      entered(caller, async (who) => {
        const approval = isId('ap', id) ? await approvals.get(id) : undefined
        return approval !== undefined && maySeeApproval(who, approval)
          ? ok(approvalView(approval))
          : refuse('not_found', 'approval', 'no such approval')
      }),
    approvals: (caller) =>
      entered(caller, async ({ party }) =>
        ok((await approvals.pendingFor(party.person?.teams ?? [])).map(approvalView)),
      ),
    approve: (caller, id, reason) => verdict(caller, id, true, reason),
    denyApproval: (caller, id, reason) => verdict(caller, id, false, reason),
    async endUndelivered(id) {
      const grant = await registry.get(id)
      if (grant === undefined) return
      await ender.end(grant, { cause: 'undelivered', by: byBroker('undelivered') }).catch(() => {})
    },
    receiveSignal: stages.signals.receive,
    reconcile: (caller, request) =>
      entered(caller, async ({ party, by }) =>
        isOperator(party)
          ? stages.reconciler.demand({ dryRun: request.dry_run ?? false, by })
          : refuse('role_required', 'reconcile', 'needs an operator'),
      ),
    reconcileStatus: (caller) =>
      entered(caller, async ({ party }) =>
        isOperator(party) ? ok(stages.reconciler.status()) : refuse('role_required', 'reconcile', 'needs an operator'),
      ),
    policies: (caller) =>
      entered(caller, async ({ party }) =>
        isOperator(party) || mayReadLog(party)
          ? ok(policyStatus())
          : refuse('role_required', 'policy.read', 'needs an operator or an auditor'),
      ),
    reloadPolicies: (caller) =>
      entered(caller, async ({ party }) => {
        if (!isOperator(party)) return refuse('role_required', 'policy.reload', 'needs an operator')
        await stages.policies.reload()
        return ok(policyStatus())
      }),
    acceptPolicies: (caller, digest) =>
      entered(caller, async ({ party, by }) => {
        if (!isOperator(party)) return refuse('role_required', 'policy.accept', 'needs an operator')
        const accepted = await stages.justified.accept(digest, by)
        return accepted.ok ? ok(policyStatus()) : accepted
      }),
  }
}
