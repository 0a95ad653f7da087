import type { Person } from '../policy/decision.ts'

/** What a verified caller is to this broker: a workload, a person, or both unknown. */
export interface Party {
  readonly workload: string | undefined
  readonly person: Person | undefined
  /** `issuer/subject`, to tell one person from another. */
  readonly name: string
}

interface Held {
  readonly workload: string
  readonly owner: string
}

const owns = (party: Party, owner: string): boolean => party.person?.teams.includes(owner) ?? false
const has = (party: Party, role: 'auditor' | 'operator'): boolean => party.person?.roles.has(role) ?? false

/** Holder, owner, auditors and operators see a grant or task. */
export const maySee = (party: Party, held: Held): boolean =>
  party.workload === held.workload || owns(party, held.owner) || has(party, 'auditor') || has(party, 'operator')

/** Holder, owner and operators end it. */
export const mayEnd = (party: Party, held: Held): boolean =>
  party.workload === held.workload || owns(party, held.owner) || has(party, 'operator')

/** The kill switch reaches everything for operators, and what is theirs for owners. */
export const mayEndAsAuthority = (party: Party, held: Held): boolean =>
  owns(party, held.owner) || has(party, 'operator')

/** Teams whose entries a person may read: auditors read every entry (`undefined`), owners those of their workloads. */
export const readableOwners = (person: Person): readonly string[] | undefined =>
  person.roles.has('auditor') ? undefined : person.teams

/** As `readableOwners` says; nobody else reads any entry. */
export const mayReadEntry = (party: Party, owner: string | undefined): boolean =>
  has(party, 'auditor') || (owner !== undefined && owns(party, owner))

/** Whoever may read an entry may prove it, and so may the workload whose grant it is about. */
export const mayHaveReceipt = (
  party: Party,
  entry: { readonly [name in 'owner' | 'workload' | 'grant']?: string | undefined },
): boolean =>
  mayReadEntry(party, entry.owner) ||
  (entry.grant !== undefined && party.workload !== undefined && party.workload === entry.workload)

/** The log as it is published holds every entry. */
export const mayReadLog = (party: Party): boolean => has(party, 'auditor')

export const isOperator = (party: Party): boolean => has(party, 'operator')
