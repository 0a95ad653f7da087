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

/** Auditors read every entry; owners those of their workloads; nobody else reads any. */
export const mayReadEntry = (party: Party, owner: string | undefined): boolean =>
  has(party, 'auditor') || (owner !== undefined && owns(party, owner))

export const isOperator = (party: Party): boolean => has(party, 'operator')
