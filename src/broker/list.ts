import type { GrantFilter, GrantList } from '../contract/grant.ts'
import { maySee, type Party } from '../grants/authority.ts'
import type { Grant } from '../grants/grant.ts'
import type { Registry } from '../grants/registry.ts'
import { grantView } from './views.ts'

/** One reason for which a caller sees grants, and how those are found without looking at any other. */
interface Way {
  readonly labels: readonly string[]
  leadsTo(grant: Grant): boolean
}

/**
 * A page of the grants that the caller may see. What it costs depends on what is the caller's own, not on what everybody
 * holds: a list is the cheapest request there is, so it must not be a way to keep the broker busy.
 */
export async function listGrants(
  registry: Pick<Registry, 'find' | 'get'>,
  party: Party,
  filter: GrantFilter,
): Promise<GrantList> {
  const wanted = labelsOf(filter)
  const ways = waysOf(party)
  // One that is open in two ways is listed in the first of them.
  const wayTo = (grant: Grant): number => ways.findIndex((way) => way.leadsTo(grant))
  const last = filter.after === undefined ? undefined : await registry.get(filter.after)
  const begin = last === undefined ? -1 : wayTo(last)
  let after = begin < 0 ? undefined : last?.id
  const page: Grant[] = []
  for (const [at, { labels }] of ways.entries()) {
    if (at < begin) continue
    for (let more = true; more; ) {
      const limit = filter.limit - page.length
      const found = await registry.find([...wanted, ...labels], { ...(after === undefined ? {} : { after }), limit })
      page.push(...found.filter((grant) => wayTo(grant) === at))
      after = found.at(-1)?.id
      if (page.length === filter.limit && after !== undefined) return { grants: page.map(grantView), next: after }
      more = found.length === limit
    }
    after = undefined
  }
  return { grants: page.map(grantView), next: null }
}

function labelsOf(filter: GrantFilter): readonly string[] {
  const named = (['workload', 'purpose', 'owner', 'credential', 'task'] as const)
    .filter((key) => filter[key] !== undefined)
    .map((key) => `${key}=${filter[key]}`)
  return filter.status === 'all' ? named : [...named, filter.status]
}

/** The ways of `maySee`; somebody nobody knows has none. */
function waysOf(party: Party): readonly Way[] {
  const { workload, person } = party
  if (person?.roles.has('auditor') || person?.roles.has('operator')) {
    return [{ labels: [], leadsTo: (grant) => maySee(party, grant) }]
  }
  const own = workload === undefined ? [] : [{ labels: [`workload=${workload}`], leadsTo: heldBy(workload) }]
  return [...own, ...(person?.teams ?? []).map((team) => ({ labels: [`owner=${team}`], leadsTo: ownedBy(team) }))]
}

const heldBy =
  (workload: string) =>
  (grant: Grant): boolean =>
    grant.workload === workload
const ownedBy =
  (team: string) =>
  (grant: Grant): boolean =>
    grant.owner === team
