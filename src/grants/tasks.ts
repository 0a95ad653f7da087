import type { Clock } from '../base/clock.ts'
import { newId, type TaskId } from '../base/ids.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import { timeText } from '../contract/fields.ts'
import type { EndedGrant } from '../contract/grant.ts'
import type { TaskView } from '../contract/task.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Indexing, State } from '../state/state.ts'
import type { Ender } from './end.ts'
import { endAll } from './end-all.ts'
import type { Provenance } from './provenance.ts'
import { keepEndedMs, type Registry } from './registry.ts'

/** A unit of work; grants hang on it and end with it. */
export interface Task {
  readonly id: TaskId
  readonly workload: string
  readonly owner: string
  readonly purpose: string
  readonly environment: string
  readonly intent: string
  readonly status: 'open' | 'ended'
  readonly openedAtMs: number
  readonly expiresAtMs: number
  readonly endedAtMs: number | undefined
}

export type TaskEndCause = 'holder' | 'deadline' | 'revoked' | 'signal' | 'policy' | 'heartbeat'

export interface Tasks {
  /** Refuses `limit_reached` to a workload that opens too many. */
  open(task: Omit<Task, 'id' | 'status' | 'openedAtMs' | 'endedAtMs'>, by: Provenance): Promise<Result<Task>>
  get(id: string): Promise<Task | undefined>
  /** The task, if it is open and belongs to that workload and purpose. Refuses `not_found`, `state_conflict`. */
  held(id: string, workload: string, purpose: string): Promise<Result<Task>>
  /** True for no task, and for one that is open. */
  stillOpen(id: TaskId | undefined): Promise<boolean>
  /** Ends the task, then every live grant that hangs on it, several at a time. */
  end(
    task: Task,
    order: { cause: TaskEndCause; outcome?: string | undefined; by: Provenance },
  ): Promise<readonly EndedGrant[]>
  /** The open tasks of a workload. */
  openOf(workload: string): Promise<readonly Task[]>
  due(limit: number): Promise<readonly Task[]>
  restore(task: Task): Promise<void>
}

/** Tasks of one workload open at once, and opened within a minute: far more than work needs, far less than memory holds. */
const mostOpen = 10_000
const mostAMinute = 600
const minuteMs = 60_000

const openOf = (workload: string): string => `open=${workload}`

const indexingOf = (task: Task): Indexing =>
  task.status === 'open'
    ? { labels: [`workload=${task.workload}`, openOf(task.workload), 'open'], dueAtMs: task.expiresAtMs }
    : { labels: [`workload=${task.workload}`], forgetAtMs: (task.endedAtMs ?? 0) + keepEndedMs }

interface Deps {
  readonly state: State
  readonly ledger: Ledger
  readonly registry: Registry
  readonly ender: Ender
  readonly clock: Clock
}

export function createTasks({ state, ledger, registry, ender, clock }: Deps): Tasks {
  const get = async (id: string): Promise<Task | undefined> => (await state.get('task', id))?.value as Task | undefined

  /** Marks the task ended; false when it was ended before. */
  async function close(id: string): Promise<boolean> {
    for (;;) {
      const stored = await state.get('task', id)
      const task = stored?.value as Task | undefined
      if (stored === undefined || task === undefined || task.status === 'ended') return false
      const next: Task = { ...task, status: 'ended', endedAtMs: clock.now() }
      if (await state.swap('task', id, stored.version, next, indexingOf(next))) return true
    }
  }

  return {
    async open(from, by) {
      const now = clock.now()
      const { retryAfterMs } = await state.hit(`tasks=${from.workload}`, mostAMinute, minuteMs)
      if (retryAfterMs > 0) return limited('tasks.per_minute', mostAMinute, Math.ceil(retryAfterMs / 1000))
      const task: Task = { ...from, id: newId('tsk', now), status: 'open', openedAtMs: now, endedAtMs: undefined }
      const place = { label: openOf(task.workload), max: mostOpen }
      const { outcome } = await state.insert('task', task.id, task, indexingOf(task), [place])
      if (outcome === 'limited') return limited('tasks.open', mostOpen, 60)
      try {
        await ledger.append({
          ...by,
          ...about(task),
          kind: 'task.opened',
          intent: task.intent,
          expires: timeText(task.expiresAtMs),
        })
      } catch (fault) {
        // What is not on record was never opened.
        await close(task.id)
        throw fault
      }
      return ok(task)
    },
    get,
    async held(id, workload, purpose) {
      const task = await get(id)
      if (task === undefined || task.workload !== workload)
        return refuse('not_found', 'task', 'no such task of this workload')
      if (task.status === 'ended' || task.expiresAtMs <= clock.now())
        return refuse('state_conflict', 'task.open', 'the task has ended')
      if (task.purpose !== purpose) {
        return refuse(
          'condition_failed',
          'task.purpose',
          `the task works for ${task.purpose}, the request names ${purpose}`,
        )
      }
      return ok(task)
    },
    async stillOpen(id) {
      return id === undefined || (await get(id))?.status === 'open'
    },
    async end(task, order) {
      const closed = await close(task.id)
      const grants = await registry.find([`task=${task.id}`, 'live'], { limit: 10_000 })
      if (closed) {
        await ledger.append({
          ...about(task),
          ...order.by,
          kind: 'task.ended',
          cause: order.cause,
          outcome: order.outcome,
          grants: grants.length,
        })
      }
      return endAll(ender, grants, { cause: 'task_ended', by: order.by })
    },
    async openOf(workload) {
      const ids = await state.find('task', [openOf(workload)], { limit: mostOpen })
      return (await Promise.all(ids.map(get))).filter((task) => task !== undefined)
    },
    async due(limit) {
      const ids = await state.due('task', clock.now(), limit)
      return (await Promise.all(ids.map(get))).filter((task) => task !== undefined)
    },
    async restore(task) {
      await state.insert('task', task.id, task, indexingOf(task))
    },
  }
}

function limited(rule: string, max: number, retryAfterSeconds: number): Result<never> {
  const { refusal } = refuse('limit_reached', rule, `a workload may have ${max}`)
  return { ok: false, refusal: { ...refusal, retryAfterSeconds } }
}

const about = (task: Task) => ({
  workload: task.workload,
  owner: task.owner,
  purpose: task.purpose,
  environment: task.environment,
  task: task.id,
})

/** The task as its holder and its owner see it. */
export const taskView = (task: Task): TaskView => ({
  task: task.id,
  workload: task.workload,
  purpose: task.purpose,
  intent: task.intent,
  status: task.status,
  opened_at: timeText(task.openedAtMs),
  expires_at: timeText(task.expiresAtMs),
  ended_at: task.endedAtMs === undefined ? null : timeText(task.endedAtMs),
})
