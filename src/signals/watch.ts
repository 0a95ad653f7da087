import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { createRounds, type Rounds } from '../base/rounds.ts'
import type { Findings } from '../grants/findings.ts'
import type { PolicySet } from '../policy/policy-set.ts'
import type { Endings } from './endings.ts'
import { type Finding, findingsOf, settledFindings } from './findings.ts'
import { type Departed, type Orphaned, orphanedWorkloads } from './leavers.ts'

/** The look-out for members who have left: tells people, and ends what nobody answers for once the grace is over. */
export interface LeaverWatch extends Rounds {
  /** The workload as one that nobody answers for, if that is so under these policies. Its deadline may be still to come. */
  orphaned(set: PolicySet, workload: string): Orphaned | undefined
}

const intervalMs = 1_000

interface Deps {
  readonly findings: Pick<Findings, 'restate' | 'close' | 'named'>
  readonly policies: () => PolicySet
  readonly departed: () => Departed
  readonly endings: Endings
  readonly clock: Clock
  readonly log: Log
}

export function createLeaverWatch(deps: Deps): LeaverWatch {
  const { findings, policies, departed, endings, clock, log } = deps
  let reckoned: { set: PolicySet; departed: Departed; orphaned: ReadonlyMap<string, Orphaned> } | undefined
  let told: { set: PolicySet; departed: Departed } | undefined

  function reckon(set: PolicySet): ReadonlyMap<string, Orphaned> {
    const gone = departed()
    if (reckoned?.set !== set || reckoned.departed !== gone) {
      reckoned = { set, departed: gone, orphaned: orphanedWorkloads(set, gone) }
    }
    return reckoned.orphaned
  }

  async function tell(set: PolicySet, gone: Departed, wanted: ReadonlyMap<string, Finding>): Promise<void> {
    const by = { actor: { type: 'broker', reason: 'leavers' }, policy: set.digest } as const
    await Promise.all([...wanted].map(([finding, said]) => findings.restate({ ...by, ...said, finding })))
    for (const name of settledFindings(set, wanted, findings.named)) await findings.close(name, by)
    told = { set, departed: gone }
  }

  async function look(): Promise<void> {
    try {
      const set = policies()
      const gone = departed()
      const orphaned = reckon(set)
      if (told?.set !== set || told.departed !== gone) await tell(set, gone, findingsOf(set, gone, orphaned))
      const now = clock.now()
      // Each round anew: a mint that was under way at the deadline ends as well.
      for (const { workload, deadlineMs } of orphaned.values()) {
        if (deadlineMs <= now) await endings.endWorkload(workload, 'owner_left')
      }
    } catch (error) {
      log.error({ error: messageOf(error) }, 'leavers_failed')
    }
  }

  return {
    orphaned: (set, workload) => reckon(set).get(workload),
    // One after the other, so that no finding is opened twice.
    ...createRounds(clock, intervalMs, look),
  }
}
