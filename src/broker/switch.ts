import { parseDuration } from '../base/duration.ts'
import { isId } from '../base/ids.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import {
  longestHoldSeconds,
  mostShownGrants,
  type RevocationList,
  type RevocationPreview,
  type RevocationRequest,
  type RevocationResult,
  type RevocationView,
} from '../contract/revocation.ts'
import { isOperator, mayEndAsAuthority, type Party } from '../grants/authority.ts'
import type { Grant } from '../grants/grant.ts'
import type { MatchBy, Matching } from '../grants/holds.ts'
import type { Order } from '../grants/orders.ts'
import type { Entered } from './desk.ts'
import type { Stages } from './stages.ts'
import { expiryOf, revocationSummary, revocationView } from './views.ts'

const longestWaitSeconds = 300
const usualWaitSeconds = 30

/** The kill switch: everything that matches and that the caller answers for or operates. */
export async function pullSwitch(
  stages: Stages,
  entered: Entered,
  request: RevocationRequest,
): Promise<Result<RevocationResult>> {
  const { party, by } = entered
  const { orders } = stages
  const match = matchingOf(request.match, party)
  const wide = match.by === 'all' || match.by === 'issuer'
  if (party.person === undefined || (wide && !isOperator(party))) {
    return refuse('role_required', 'revocations', 'needs an operator, or the owner of what is matched')
  }
  const matched = await orders.matching(match)
  // Whether others hold something now is none of the caller's business, so the answer must not turn on it.
  if (matched.length === 0 && !isOperator(party) && !(await concerns(stages, entered, request.match)))
    return refuse('role_required', 'revocations', 'nothing matched is yours to end')
  if (request.dry_run) return ok(previewOf(matched))
  const holdSeconds = Math.min(secondsOf(request.hold, 0), longestHoldSeconds)
  const placed = await orders.place({ ...match, reason: request.reason, holdSeconds }, by)
  if (!placed.ok) return placed
  const waitSeconds = Math.min(secondsOf(request.wait, usualWaitSeconds), longestWaitSeconds)
  await orders.finished(placed.value, waitSeconds * 1000)
  await endTasks(stages, entered, request.match)
  return ok(await shown(stages, orders.get(placed.value.id) ?? placed.value))
}

/** One order, as those who may see it do. */
export async function readOrder(stages: Stages, { party }: Entered, id: string): Promise<Result<RevocationView>> {
  const order = seenOrder(stages, party, id)
  return order.ok ? ok(await shown(stages, order.value)) : order
}

/** Orders that are open, hold, or were completed just now; for older ones there is the ledger. */
export function listOrders({ orders }: Stages, { party }: Entered): Result<RevocationList> {
  const seen = orders.list().filter((order) => maySeeOrder(party, order))
  return ok({ revocations: seen.map((order) => revocationSummary(order, orders.isHolding(order))) })
}

/** Lets issuance go on before its time: whoever ordered, or could have. */
export async function liftOrder(
  stages: Stages,
  { party, by }: Entered,
  id: string,
  reason: string | undefined,
): Promise<Result<RevocationView>> {
  const order = seenOrder(stages, party, id)
  if (!order.ok) return order
  const theirs = order.value.teams?.every((team) => party.person?.teams.includes(team)) ?? false
  if (!isOperator(party) && !theirs) return refuse('role_required', 'revocations.lift', 'needs an operator')
  const lifted = await stages.orders.lift(order.value, reason, by)
  return lifted.ok ? ok(await shown(stages, lifted.value)) : lifted
}

function matchingOf(match: RevocationRequest['match'], party: Party): Matching {
  const [by = 'all', name] = Object.entries(match)[0] ?? []
  return {
    by: by as MatchBy,
    name: typeof name === 'string' ? name : '',
    // What they own now: a team they join later is not what they decided about.
    teams: isOperator(party) ? undefined : (party.person?.teams ?? []),
  }
}

const secondsOf = (text: string | undefined, otherwise: number): number =>
  text === undefined ? otherwise : (parseDuration(text) ?? otherwise)

const previewOf = (grants: readonly Grant[]): RevocationPreview => ({
  matched: grants.length,
  revocable: grants.filter(({ revocable }) => revocable).length,
  grants: grants.slice(0, mostShownGrants).map((grant) => ({
    grant: grant.id,
    workload: grant.workload,
    purpose: grant.purpose,
    credential: grant.credential,
    revocable: grant.revocable,
    expires_at: expiryOf(grant),
  })),
  dry_run: true,
})

async function shown({ orders, registry, clock }: Stages, order: Order): Promise<RevocationView> {
  const grants = (await Promise.all(shownIds(order).map((id) => registry.get(id)))).filter(
    (grant) => grant !== undefined,
  )
  return revocationView(order, orders.isHolding(order), grants, clock.now())
}

/** Those that have not ended first, and never more than are shown: an order of a hundred thousand is asked for often. */
function shownIds({ ids, waiting }: Order): readonly string[] {
  const first: string[] = []
  for (const id of waiting) {
    if (first.length === mostShownGrants) return first
    first.push(id)
  }
  for (const id of ids) {
    if (first.length === mostShownGrants) break
    if (!waiting.has(id)) first.push(id)
  }
  return first
}

/** Operators, auditors, and whoever owns what it reaches. */
function maySeeOrder({ person }: Party, { by, name, teams }: Order): boolean {
  if (person === undefined) return false
  if (person.roles.has('operator') || person.roles.has('auditor')) return true
  return (
    (by === 'owner' && person.teams.includes(name)) || (teams?.some((team) => person.teams.includes(team)) ?? false)
  )
}

function seenOrder({ orders }: Stages, party: Party, id: string): Result<Order> {
  const order = isId('rev', id) ? orders.get(id) : undefined
  return order !== undefined && maySeeOrder(party, order)
    ? ok(order)
    : refuse('not_found', 'revocation', 'no such order')
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
