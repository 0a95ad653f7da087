import { sha256Hex } from '../base/digest.ts'
import { timeText } from '../contract/fields.ts'
import type { PolicySet } from '../policy/policy-set.ts'
import type { Departed, Orphaned } from './leavers.ts'
import { type Subject, subjectKey, workloadsBySub } from './subject.ts'

/** Something for people to mend in the policies. */
export interface Finding {
  readonly severity: 'warning' | 'critical'
  readonly detail: string
  readonly workload?: string
  readonly owner?: string
}

const prefixes = { owner: 'owner-left-', member: 'member-left-', renamed: 'identifier-changed-' } as const
const longestKey = 150

const nameOf = (prefix: string, key: string): string => prefix + (key.length <= longestKey ? key : sha256Hex(key))

/** The finding that the policies name somebody who is called otherwise now. */
export const renamedFinding = (subject: Subject): string => nameOf(prefixes.renamed, subjectKey(subject))

/** What the leavers make people mend, by the name of the finding. */
export function findingsOf(
  set: PolicySet,
  departed: Departed,
  orphaned: ReadonlyMap<string, Orphaned>,
): ReadonlyMap<string, Finding> {
  const found = new Map<string, Finding>()
  for (const { workload, owner, deadlineMs, detail } of orphaned.values()) {
    found.set(nameOf(prefixes.owner, workload), {
      severity: 'critical',
      detail: `nobody is left to answer for it: ${detail}. From ${timeText(deadlineMs)} it gets nothing and what it holds is revoked`,
      workload,
      owner,
    })
  }
  if (departed.size === 0) return found
  for (const { name: owner, status, members } of set.teams) {
    if (status === 'retired') continue
    for (const member of members) {
      if (!departed.has(subjectKey(member))) continue
      found.set(nameOf(prefixes.member, `${owner}/${subjectKey(member)}`), {
        severity: 'warning',
        detail: `a signal says that a member has left, and the Team document still lists the person`,
        owner,
      })
    }
  }
  return found
}

/** Of the findings that `named` knows as open, those of ours that are over: `wanted` no more, or about a name no longer in the policies. */
export function settledFindings(
  set: PolicySet,
  wanted: ReadonlyMap<string, Finding>,
  named: (prefix: string) => readonly string[],
): readonly string[] {
  const left = [prefixes.owner, prefixes.member].flatMap(named).filter((name) => !wanted.has(name))
  const about = named(prefixes.renamed)
  if (about.length === 0) return left
  const mentioned = new Set<string>()
  for (const { members } of set.teams) for (const member of members) mentioned.add(renamedFinding(member))
  for (const { subject } of workloadsBySub(set)) mentioned.add(renamedFinding(subject))
  return [...left, ...about.filter((name) => !mentioned.has(name))]
}
