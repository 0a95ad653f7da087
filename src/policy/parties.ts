import type { Identity } from '../identity/identity.ts'
import type { Person } from './decision.ts'
import { type PolicySet, personKey } from './policy-set.ts'

/** Names of the workloads that a token fits, retired ones left out when another fits; two or more mean that nobody answers. */
export function workloadsOf(set: PolicySet, identity: Pick<Identity, 'issuer' | 'claims'>): readonly string[] {
  return fitting(set, identity).map(({ name }) => name)
}

/** The workloads that a token fits. A retired one counts only while no other does, so that a successor can take over. */
export function fitting(
  set: PolicySet,
  identity: Pick<Identity, 'issuer' | 'claims'>,
): ReturnType<PolicySet['index']['match']> {
  const all = set.index.match(identity.issuer, identity.claims)
  const current = all.filter(({ policy }) => policy.status !== 'retired')
  return current.length > 0 ? current : all
}

/** The person behind a token, by the Team documents; `undefined` for everyone no active or leaving team lists. */
export function personOf(set: PolicySet, identity: Pick<Identity, 'issuer' | 'subject'>): Person | undefined {
  const teams = set.people.get(personKey(identity.issuer, identity.subject))
  if (teams === undefined) return undefined
  return { teams: teams.map(({ name }) => name), roles: new Set(teams.flatMap(({ roles }) => roles)) }
}
