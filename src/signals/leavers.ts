import { parseDuration } from '../base/duration.ts'
import type { PolicySet } from '../policy/policy-set.ts'
import type { TeamPolicy } from '../policy/team.ts'
import { subjectKey } from './subject.ts'

/** A workload for which nobody is left to answer, since when, and from when on it gets nothing. */
export interface Orphaned {
  readonly workload: string
  readonly owner: string
  readonly sinceMs: number
  readonly deadlineMs: number
  /** What is missing, in words. */
  readonly detail: string
}

/** Persons who have left, by subject key, and since when (ms since the epoch). */
export type Departed = ReadonlyMap<string, number>

/**
 * The workloads whose owner team lost a member and now has nobody left, or has no backup to fall back on. A pure function of
 * the policies and of who has left; time only moves the reader past `deadlineMs`. Both the missing and the deadline count
 * from the departure that brought it about, so that a restart changes neither; whoever lists a present member, another backup or
 * another owner, or is told that the person is back, lifts it. A team that leaves as a whole is answered for by its backup.
 */
export function orphanedWorkloads(set: PolicySet, departed: Departed): ReadonlyMap<string, Orphaned> {
  const found = new Map<string, Orphaned>()
  if (departed.size === 0) return found
  const rosters = new Map(set.teams.map((team) => [team.name, rosterOf(team, departed)]))
  for (const { name, policy } of set.workloads) {
    const [owner, backup] = [rosters.get(policy.owner), rosters.get(policy.backup)]
    if (policy.status === 'retired' || owner === undefined || backup === undefined) continue
    const lack = lackOf(owner, backup)
    if (lack === undefined) continue
    const graceSeconds = parseDuration(owner.team.leavers.grace) ?? 0
    const { sinceMs, detail } = lack
    const deadlineMs = sinceMs + graceSeconds * 1000
    found.set(name, { workload: name, owner: owner.team.name, sinceMs, deadlineMs, detail })
  }
  return found
}

interface Roster {
  readonly team: TeamPolicy
  readonly present: number
  /** When members left, earliest first. */
  readonly left: readonly number[]
}

function rosterOf(team: TeamPolicy, departed: Departed): Roster {
  const left = team.members.map((member) => departed.get(subjectKey(member))).filter((ms) => ms !== undefined)
  return { team, present: team.members.length - left.length, left: left.sort((a, b) => a - b) }
}

function lackOf(owner: Roster, backup: Roster): { sinceMs: number; detail: string } | undefined {
  const first = owner.left[0]
  if (first === undefined || owner.team.status === 'retired') return undefined
  const lacks: { sinceMs: number; detail: string }[] = []
  const ownerAnswers = owner.team.status !== 'leaving'
  if (ownerAnswers && owner.present === 0) {
    lacks.push({ sinceMs: owner.left.at(-1) ?? first, detail: `${owner.team.name} has no member left` })
  }
  if (backup.team.status === 'retired')
    lacks.push({ sinceMs: first, detail: `its backup ${backup.team.name} is retired` })
  else if (backup.present === 0) {
    const sinceMs = Math.max(first, backup.left.at(-1) ?? 0)
    lacks.push({ sinceMs, detail: `its backup ${backup.team.name} has no member left` })
  }
  if (lacks.length === 0) return undefined
  return {
    sinceMs: Math.min(...lacks.map((lack) => lack.sinceMs)),
    detail: lacks.map((lack) => lack.detail).join(', and '),
  }
}
