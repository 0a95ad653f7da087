import type { EndedGrant } from '../contract/grant.ts'
import type { Grant } from '../grants/grant.ts'
import type { Provenance } from '../grants/provenance.ts'
import type { Registry } from '../grants/registry.ts'
import type { Task, Tasks } from '../grants/tasks.ts'
import type { EndReason } from '../ledger/entry.ts'
import type { Standings } from './standing.ts'
import type { Subject } from './subject.ts'

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
}

const byBroker = (reason: string): Provenance => ({ actor: { type: 'broker', reason } })

const most = 1_000_000
const pageSize = 1_000

export function createEndings({ registry, tasks, endAll, standings }: Deps): Endings {
  async function endTasks(open: readonly Task[], cause: 'signal' | 'policy', by: Provenance): Promise<void> {
    for (const task of open) await tasks.end(task, { cause, by })
  }

  async function tasksOf(grants: readonly Grant[]): Promise<readonly Task[]> {
    const ids = new Set(grants.map(({ task }) => task).filter((id) => id !== undefined))
    const found = await Promise.all([...ids].map((id) => tasks.get(id)))
    return found.filter((task) => task !== undefined).filter(({ status }) => status === 'open')
  }

  const isOf = (subject: Subject, beforeMs: number) => (grant: Grant) =>
    grant.subject === subject.subject && grant.openedAtMs < beforeMs

  return {
    async endSubject(subject, workloads, beforeMs, { reason, by }) {
      const live = await registry.find([`issuer=${subject.issuer}`, 'live'], { limit: most })
      const grants = live.filter(isOf(subject, beforeMs))
      const open = new Map((await tasksOf(grants)).map((task) => [task.id, task]))
      for (const workload of workloads) {
        for (const task of await tasks.openOf(workload)) if (task.openedAtMs < beforeMs) open.set(task.id, task)
      }
      await endAll(grants, { cause: 'signal', reason, by })
      await endTasks([...open.values()], 'signal', by)
    },
    async endWorkload(workload, cause) {
      const by = byBroker('leavers')
      await endAll(await registry.find([`workload=${workload}`, 'live'], { limit: most }), { cause, by })
      await endTasks(await tasks.openOf(workload), 'policy', by)
    },
    async endLeftOvers() {
      if (!(await standings.any())) return
      const stale: Grant[] = []
      for (let after: string | undefined; ; ) {
        const page = await registry.find(['live'], { ...(after === undefined ? {} : { after }), limit: pageSize })
        for (const grant of page) {
          const standing = await standings.get(grant)
          if (
            standing !== undefined &&
            (standing.disabledAtMs !== undefined || grant.openedAtMs < standing.endedBeforeMs)
          )
            stale.push(grant)
        }
        after = page.at(-1)?.id
        if (page.length < pageSize) break
      }
      const by = byBroker('signal')
      await endAll(stale, { cause: 'signal', by })
      await endTasks(await tasksOf(stale), 'signal', by)
    },
  }
}
