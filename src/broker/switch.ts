import { ok, type Result, refuse } from '../base/result.ts'
import type { RevocationRequest, RevocationResult } from '../contract/grant.ts'
import { isOperator, mayEndAsAuthority } from '../grants/authority.ts'
import { endAll } from '../grants/end-all.ts'
import type { Entered } from './desk.ts'
import type { Stages } from './stages.ts'

/** The kill switch: everything that matches and that the caller answers for or operates. */
export async function pullSwitch(
  stages: Stages,
  entered: Entered,
  request: RevocationRequest,
): Promise<Result<RevocationResult>> {
  const { party, by } = entered
  const [key, value] = Object.entries(request.match)[0] ?? []
  const wide = key === 'all' || key === 'issuer'
  if (party.person === undefined || (wide && !isOperator(party))) {
    return refuse('role_required', 'revocations', 'needs an operator, or the owner of what is matched')
  }
  const dryRun = request.dry_run ?? false
  const labels = key === 'all' ? ['live'] : [`${key}=${value}`, 'live']
  const live = await stages.registry.find(labels, { limit: 1_000_000 })
  const matched = live.filter((grant) => mayEndAsAuthority(party, grant))
  // Whether others hold something now is none of the caller's business, so the answer must not turn on it.
  if (matched.length === 0 && !isOperator(party) && !(await concerns(stages, entered, request.match)))
    return refuse('role_required', 'revocations', 'nothing matched is yours to end')
  if (dryRun) return ok({ matched: matched.length, grants: [], dry_run: true })
  const ended = await endAll(stages.ender, matched, { cause: 'kill_switch', reason: request.reason, by })
  await endTasks(stages, entered, request.match)
  return ok({ matched: matched.length, grants: [...ended], dry_run: false })
}

/** Work that is to stop opens nothing new either: the tasks that match end with the grants. A credential or an issuer is not of a task. */
async function endTasks(
  { tasks }: Stages,
  { party, by }: Entered,
  { workload, purpose, owner, task: id, all }: RevocationRequest['match'],
): Promise<void> {
  for await (const task of tasks.eachOpen(workload)) {
    const matches =
      all === true || task.workload === workload || task.purpose === purpose || task.owner === owner || task.id === id
    if (matches && mayEndAsAuthority(party, task)) await tasks.end(task, { cause: 'revoked', by })
  }
}

/** Whether the policies, or the task, say that what is matched may be the caller's to end. */
async function concerns(
  { tasks }: Stages,
  { party, policies }: Entered,
  { workload, purpose, owner, credential, task }: RevocationRequest['match'],
): Promise<boolean> {
  const teams = party.person?.teams ?? []
  if (owner !== undefined) return teams.includes(owner)
  if (task !== undefined) {
    const known = await tasks.get(task)
    return known !== undefined && mayEndAsAuthority(party, known)
  }
  return policies.workloads.some(
    ({ name, policy }) =>
      teams.includes(policy.owner) &&
      (name === workload ||
        policy.purposes.some(
          ({ id, credentials }) => id === purpose || (credential !== undefined && credentials.includes(credential)),
        )),
  )
}
