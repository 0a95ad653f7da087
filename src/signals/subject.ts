import { ok, type Result, refuse } from '../base/result.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import type { CompiledWorkload, PolicySet } from '../policy/policy-set.ts'
import type { Identifier } from './identifier.ts'

/** Somebody whose tokens carry this `sub` and come from that Issuer document. */
export interface Subject {
  readonly issuer: string
  readonly subject: string
}

/** Whom a signal is about. */
export interface Matched {
  readonly subjects: readonly Subject[]
  /** How many team members and workloads of the policies those are. */
  readonly count: number
}

/** Joins the parts of a subject's key; the name of an Issuer holds no slash. */
export const subjectKey = ({ issuer, subject }: Subject): string => `${issuer}/${subject}`

/**
 * Whom the identifiers name, among the subjects of those issuers that the transmitter speaks for and of no others. An identifier
 * that says whose name it is names that one subject, known to the policies or not: tokens of it may come later. Any other text is
 * compared, byte for byte, with the subjects of team members and with workloads that match on one exact `sub`.
 * Refuses `role_required` when every identifier names a subject of issuers that the transmitter does not speak for.
 */
export function matchSubjects(
  set: PolicySet,
  transmitter: IssuerPolicy,
  identifiers: readonly Identifier[],
): Result<Matched> {
  const spokenFor = new Set(transmitter.signals?.speaks_for ?? [transmitter.name])
  const found = new Map<string, Subject>()
  const add = (subject: Subject): void => void found.set(subjectKey(subject), subject)
  let foreign = 0
  for (const { iss, text } of identifiers) {
    if (iss === undefined) {
      for (const subject of namedBy(set, text)) if (spokenFor.has(subject.issuer)) add(subject)
      continue
    }
    const issuer = set.issuers.find(({ url }) => url === iss)?.name
    if (issuer === undefined) continue
    if (spokenFor.has(issuer)) add({ issuer, subject: text })
    else foreign++
  }
  if (foreign > 0 && foreign === identifiers.length) {
    return refuse('role_required', 'signals.speaks_for', `${transmitter.name} does not speak for that issuer`)
  }
  const subjects = [...found.values()]
  const count = subjects.reduce((sum, subject) => sum + knownAs(set, subject), 0)
  return ok({ subjects, count })
}

function* namedBy(set: PolicySet, text: string): Iterable<Subject> {
  for (const { members } of set.teams) {
    for (const { issuer, subject } of members) if (subject === text) yield { issuer, subject }
  }
  for (const { subject } of workloadsBySub(set)) if (subject.subject === text) yield subject
}

const exactSub = ({ rules }: CompiledWorkload): unknown =>
  rules.find(({ label, glob }) => label === 'sub' && !glob)?.pattern

/** As how many team members (one at most) and workloads the policies know a subject. */
const knownAs = (set: PolicySet, subject: Subject): number =>
  Number(isMember(set, subject)) + workloadsWithSub(set, subject).length

/** Whether a team lists the subject. */
const isMember = (set: PolicySet, { issuer, subject }: Subject): boolean =>
  set.teams.some(({ members }) => members.some((member) => member.issuer === issuer && member.subject === subject))

/** Each workload that matches on one exact `sub`, and whose it is. */
export function* workloadsBySub(set: PolicySet): Iterable<{ readonly name: string; readonly subject: Subject }> {
  for (const workload of set.workloads) {
    const sub = exactSub(workload)
    const { issuer } = workload.policy.match
    if (typeof sub === 'string') yield { name: workload.name, subject: { issuer, subject: sub } }
  }
}

/** Workloads that match on exactly this `sub` of exactly this issuer, whatever else they match on. */
export const workloadsWithSub = (set: PolicySet, { issuer, subject }: Subject): readonly CompiledWorkload[] =>
  set.workloads.filter((workload) => workload.policy.match.issuer === issuer && exactSub(workload) === subject)
