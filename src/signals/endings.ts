import type { EndedGrant } from '../contract/grant.ts'
import type { Grant } from '../grants/grant.ts'
import type { Provenance } from '../grants/provenance.ts'
import type { Registry } from '../grants/registry.ts'
import type { Task, Tasks } from '../grants/tasks.ts'
import type { EndReason } from '../ledger/entry.ts'
import type { PolicySet } from '../policy/policy-set.ts'
import type { Standings } from './standing.ts'
import { type Subject, workloadsBySub } from './subject.ts'

/** Which signal ends it, and by whom it came. */
export interface SignalOrder {
  readonly reason: string
  readonly by: Provenance
}

/** Ends what signals and leavers take the ground from. Never rejects for one grant: the sweep goes on with what Vault refuses. */
export interface Endings {
  /** Everything the subject holds that was opened before then, and the tasks of those workloads. */
  endSubject(subject: Subject, workloads: readonly string[], beforeMs: number, order: SignalOrder): Promise<void>
  /** Everything the workload holds. */
  endWorkload(workload: string, cause: 'owner_left'): Promise<void>
  /** Whatever is live although a signal has ended it: what was left when the broker stopped. */
  endLeftOvers(): Promise<void>
}

interface Deps {
  readonly registry: Pick<Registry, 'find'>
  readonly tasks: Pick<Tasks, 'end' | 'get' | 'openOf'>
  readonly endAll: (
    grants: readonly Grant[],
    order: { cause: EndReason; reason?: string; by: Provenance },
  ) => Promise<readonly EndedGrant[]>
  readonly standings: Standings
  readonly policies: () => PolicySet
}

const byBroker = (reason: string): Provenance => ({ actor: { type: 'broker', reason } })

/** What is ending already is left to the sweep, which does not ask Vault more often than is good for it. */
const isNotEnding = ({ status }: Grant): boolean => status !== 'ending'

const pageSize = 10_000

export function createEndings({ registry, tasks, endAll, standings, policies }: Deps): Endings {
  async function endTasks(open: readonly Task[], cause: 'signal' | 'policy', by: Provenance): Promise<void> {
    for (const task of open) await tasks.end(task, { cause, by })
  }

  async function tasksOf(grants: readonly Grant[]): Promise<readonly Task[]> {
    const ids = new Set(grants.map(({ task }) => task).filter((id) => id !== undefined))
    const found = await Promise.all([...ids].map((id) => tasks.get(id)))
    return found.filter((task) => task !== undefined).filter(({ status }) => status === 'open')
  }

  /** Page by page, so that looking through all there is holds up nobody. */
  async function liveGrants(
    labels: readonly string[],
    isMeant: (grant: Grant) => boolean | Promise<boolean>,
  ): Promise<Grant[]> {
    const found: Grant[] = []
    for (let after: string | undefined; ; ) {
      const page = await registry.find([...labels, 'live'], {
        ...(after === undefined ? {} : { after }),
        limit: pageSize,
      })
      for (const grant of page) if (await isMeant(grant)) found.push(grant)
      after = page.at(-1)?.id
      if (page.length < pageSize) return found
    }
  }

  const isOf = (subject: Subject, beforeMs: number) => (grant: Grant) =>
    grant.subject === subject.subject && grant.openedAtMs < beforeMs

  return {
    async endSubject(subject, workloads, beforeMs, { reason, by }) {
      const grants = await liveGrants([`issuer=${subject.issuer}`], isOf(subject, beforeMs))
      const open = new Map((await tasksOf(grants)).map((task) => [task.id, task]))
      for (const workload of workloads) {
        for (const task of await tasks.openOf(workload)) if (task.openedAtMs < beforeMs) open.set(task.id, task)
      }
      await endAll(grants, { cause: 'signal', reason, by })
      await endTasks([...open.values()], 'signal', by)
    },
    async endWorkload(workload, cause) {
      const by = byBroker('leavers')
      await endAll(await liveGrants([`workload=${workload}`], isNotEnding), { cause, by })
      await endTasks(await tasks.openOf(workload), 'policy', by)
    },
    async endLeftOvers() {
      if (!(await standings.any())) return
      const stale = await liveGrants([], async (grant) => {
        const standing = await standings.get(grant)
        if (standing === undefined || !isNotEnding(grant)) return false
        return standing.disabledAtMs !== undefined || grant.openedAtMs < standing.endedBeforeMs
      })
      const by = byBroker('signal')
      await endAll(stale, { cause: 'signal', by })
      const open = new Map((await tasksOf(stale)).map((task) => [task.id, task]))
      for (const { name, subject } of workloadsBySub(policies())) {
        const standing = await standings.get(subject)
        if (standing === undefined) continue
        const isStale = (atMs: number) => standing.disabledAtMs !== undefined || atMs < standing.endedBeforeMs
        for (const task of await tasks.openOf(name)) if (isStale(task.openedAtMs)) open.set(task.id, task)
      }
      await endTasks([...open.values()], 'signal', by)
    },
  }
}
