import type { Clock } from '../base/clock.ts'
import { newId, type TaskId } from '../base/ids.ts'
import { inParallel } from '../base/in-parallel.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import { timeText } from '../contract/fields.ts'
import type { EndedGrant } from '../contract/grant.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { LabelLimit, State } from '../state/state.ts'
import type { Ender } from './end.ts'
import { endAll } from './end-all.ts'
import { byBroker, type Provenance } from './provenance.ts'
import type { Registry } from './registry.ts'
import {
  aboutTask,
  anyRun,
  indexingOf,
  isOpen,
  openKey,
  openOf,
  openRun,
  overdue,
  type Task,
  type TaskEndCause,
} from './task.ts'

export { type Task, type TaskEndCause, taskView } from './task.ts'

/** A task as it is asked for. The id is drawn when there is none. */
export type NewTask = Omit<Task, 'id' | 'status' | 'openedAtMs' | 'endedAtMs' | 'heardAtMs' | 'granted'> & {
  readonly id?: TaskId
}

export interface Tasks {
  /** Refuses `limit_reached` to a workload that opens too many. With `retry`, the open task of that key is found again. */
  open(task: NewTask, by: Provenance): Promise<Result<Task>>
  /** The open task of that workload, purpose and run: the one there is, or this one. Two who ask at once get the same. */
  openRun(task: NewTask & { readonly run: string }, by: Provenance): Promise<Result<Task>>
  /** The open task of a run, if there is one. */
  ofRun(workload: string, purpose: string, run: string): Promise<Task | undefined>
  get(id: string): Promise<Task | undefined>
  /** The task, if it is open and belongs to that workload and purpose. Refuses `not_found`, `state_conflict`. */
  held(id: string, workload: string, purpose: string): Promise<Result<Task>>
  /** True for no task, and for one that is open. */
  stillOpen(id: TaskId | undefined): Promise<boolean>
  /** Its holder is at work: the time until the next heartbeat begins anew. Refuses `state_conflict` once it is over. */
  hear(id: TaskId): Promise<Result<Task>>
  /**
   * Counts one more grant of it, or so many at once, and returns how many that makes. Refuses `limit_reached` beyond `max`,
   * `state_conflict` once it is over.
   */
  count(id: TaskId, max: number | undefined, grants?: number): Promise<Result<number>>
  /** Takes back what was counted for grants that got no place. */
  uncount(id: TaskId, grants?: number): Promise<void>
  /** Ends the task, then every live grant that hangs on it, several at a time. */
  end(
    task: Task,
    order: { cause: TaskEndCause; outcome?: string | undefined; by: Provenance },
  ): Promise<readonly EndedGrant[]>
  /** Ends the tasks that are past their deadline or whose holder has not been heard of in time; at most `limit`. */
  endDue(limit: number): Promise<void>
  /** The open tasks, of one workload or of all; one by one, as they are by then. */
  eachOpen(workload?: string): AsyncIterable<Task>
  /** The open tasks of a workload. */
  openOf(workload: string): Promise<readonly Task[]>
  /** Puts a replayed task in place. Nobody could be heard of while there was no broker, so the wait for that begins now. */
  restore(task: Task): Promise<void>
}

/** Tasks of one workload open at once, and opened within a minute: far more than work needs, far less than memory holds. */
const mostOpen = 10_000
const mostAMinute = 600
const minuteMs = 60_000
/** Tasks that time ends side by side; each ends its grants several at a time. */
const endedAtOnce = 8

interface Deps {
  readonly state: State
  readonly ledger: Ledger
  readonly registry: Registry
  readonly ender: Ender
  readonly clock: Clock
}

export function createTasks({ state, ledger, registry, ender, clock }: Deps): Tasks {
  /** Tasks whose opening is not on record yet. */
  const opening = new Map<TaskId, Promise<unknown>>()

  const get = async (id: string): Promise<Task | undefined> => (await state.get('task', id))?.value as Task | undefined

  /** Moves the task, or says why it cannot move; `change` sees it as it is at the moment of the swap. */
  async function move(id: string, change: (task: Task) => Result<Task>): Promise<Result<Task>> {
    for (;;) {
      const stored = await state.get('task', id)
      if (stored === undefined) return refuse('not_found', 'task', 'no such task')
      const next = change(stored.value as Task)
      if (!next.ok) return next
      if (await state.swap('task', id, stored.version, next.value, indexingOf(next.value))) return next
    }
  }

  const whileOpen = (id: string, change: (task: Task) => Result<Task>): Promise<Result<Task>> =>
    move(id, (task) => (isOpen(task, clock.now()) ? change(task) : ended()))

  /** Marks the task ended; refuses when it was before, or when `why` finds no cause. */
  async function close(id: string, why: (task: Task) => TaskEndCause | undefined): Promise<TaskEndCause | undefined> {
    let cause: TaskEndCause | undefined
    const closed = await move(id, (task) => {
      cause = task.status === 'open' ? why(task) : undefined
      return cause === undefined ? ended() : ok({ ...task, status: 'ended', endedAtMs: clock.now() })
    })
    return closed.ok ? cause : undefined
  }

  async function endFor(
    task: Task,
    why: (task: Task) => TaskEndCause | undefined,
    { outcome, by }: { outcome?: string | undefined; by: (cause: TaskEndCause) => Provenance },
  ): Promise<readonly EndedGrant[]> {
    const cause = await close(task.id, why)
    const grants = await registry.find([`task=${task.id}`, 'live'], { limit: 1_000_000 })
    if (cause !== undefined) {
      const entry = { ...aboutTask(task), kind: 'task.ended', cause, outcome, grants: grants.length } as const
      await ledger.append({ ...entry, ...by(cause) })
    }
    return endAll(ender, grants, { cause: 'task_ended', by: by(cause ?? 'holder') })
  }

  const endOverdue = (task: Task): Promise<readonly EndedGrant[]> =>
    endFor(task, (present) => overdue(present, clock.now()), { by: byBroker })

  async function openNew(
    from: NewTask,
    by: Provenance,
    places: readonly LabelLimit[],
  ): Promise<Result<Task> | 'taken'> {
    const now = clock.now()
    const { retryAfterMs } = await state.hit(`tasks=${from.workload}`, mostAMinute, minuteMs)
    if (retryAfterMs > 0) return limited('tasks.per_minute', mostAMinute, Math.ceil(retryAfterMs / 1000))
    const task: Task = {
      ...from,
      id: from.id ?? newId('tsk', now),
      status: 'open',
      openedAtMs: now,
      endedAtMs: undefined,
      heardAtMs: from.heartbeatSeconds === undefined ? undefined : now,
      granted: await grantedBefore(from),
    }
    const room = { label: openOf(task.workload), max: mostOpen }
    const inserted = await state.insert('task', task.id, task, indexingOf(task), [...places, room])
    if (inserted.outcome === 'limited') {
      return inserted.label === room.label ? limited('tasks.open', mostOpen, 60) : 'taken'
    }
    const recorded = recordOpening(task, by).finally(() => opening.delete(task.id))
    opening.set(task.id, recorded)
    await recorded
    return ok(task)
  }

  async function recordOpening(task: Task, by: Provenance): Promise<void> {
    try {
      await ledger.append({
        ...by,
        ...aboutTask(task),
        kind: 'task.opened',
        intent: task.intent,
        expires: timeText(task.expiresAtMs),
        heartbeat: task.heartbeatSeconds,
        run: task.run,
        idempotency_key: task.retry?.key,
        idempotency_request: task.retry?.request,
      })
    } catch (fault) {
      // What is not on record was never opened.
      await close(task.id, () => 'revoked')
      throw fault
    }
  }

  /** A run that goes on after its task has ended goes on counting, too. */
  async function grantedBefore({ workload, purpose, run }: NewTask): Promise<number> {
    if (run === undefined) return 0
    const ids = await state.find('task', [anyRun(workload, purpose, run)], { limit: 1_000 })
    return Math.max(0, ...(await Promise.all(ids.map(get))).map((task) => task?.granted ?? 0))
  }

  /** The open task that carries the label, once it is on record. One that time has ended is ended first. */
  async function found(label: string): Promise<Task | undefined> {
    const [id] = await state.find('task', [label], { limit: 1 })
    if (id === undefined) return undefined
    await opening.get(id as TaskId)?.catch(() => {})
    const task = await get(id)
    if (task?.status !== 'open') return undefined
    if (isOpen(task, clock.now())) return task
    await endOverdue(task)
    return undefined
  }

  /** The open task that carries the label, or a new one that does; one place for it, so that two at once share one. */
  async function findOrOpen(label: string, from: NewTask, by: Provenance): Promise<Result<Task>> {
    for (;;) {
      const known = await found(label)
      if (known !== undefined) return ok(known)
      const opened = await openNew(from, by, [{ label, max: 1 }])
      if (opened !== 'taken') return opened
    }
  }

  async function* eachOpen(workload?: string): AsyncIterable<Task> {
    const labels = workload === undefined ? ['open'] : [openOf(workload)]
    for (const id of await state.find('task', labels, { limit: Number.MAX_SAFE_INTEGER })) {
      const task = await get(id)
      if (task?.status === 'open') yield task
    }
  }

  return {
    async open(from, by) {
      if (from.retry === undefined) {
        const opened = await openNew(from, by, [])
        return opened === 'taken' ? limited('tasks.open', mostOpen, 60) : opened
      }
      const opened = await findOrOpen(openKey(from.retry.key), from, by)
      return opened.ok && opened.value.retry?.request !== from.retry.request ? otherRequest() : opened
    },
    openRun: (from, by) => findOrOpen(openRun(from.workload, from.purpose, from.run), from, by),
    ofRun: (workload, purpose, run) => found(openRun(workload, purpose, run)),
    get,
    async held(id, workload, purpose) {
      const task = await get(id)
      if (task === undefined || task.workload !== workload)
        return refuse('not_found', 'task', 'no such task of this workload')
      if (!isOpen(task, clock.now())) return ended()
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
      if (id === undefined) return true
      const task = await get(id)
      return task !== undefined && isOpen(task, clock.now())
    },
    hear: (id) => whileOpen(id, (task) => ok({ ...task, heardAtMs: clock.now() })),
    async count(id, max, grants = 1) {
      const counted = await whileOpen(id, (task) => {
        const granted = (task.granted ?? 0) + grants
        if (max === undefined || granted <= max) return ok({ ...task, granted })
        return limited(
          'task.grants',
          max,
          Math.ceil((task.expiresAtMs - clock.now()) / 1000),
          'the purpose gives a task',
        )
      })
      return counted.ok ? ok(counted.value.granted ?? 0) : counted
    },
    async uncount(id, grants = 1) {
      await move(id, (task) => ok({ ...task, granted: Math.max(0, (task.granted ?? 0) - grants) }))
    },
    end: (task, { cause, outcome, by }) => endFor(task, () => cause, { outcome, by: () => by }),
    async endDue(limit) {
      await inParallel(await state.due('task', clock.now(), limit), endedAtOnce, async (id) => {
        const task = await get(id)
        if (task !== undefined) await endOverdue(task)
      })
    },
    eachOpen,
    async openOf(workload) {
      const open: Task[] = []
      for await (const task of eachOpen(workload)) open.push(task)
      return open
    },
    async restore(task) {
      const heard = task.heartbeatSeconds === undefined ? task : { ...task, heardAtMs: clock.now() }
      await state.insert('task', task.id, heard, indexingOf(heard))
    },
  }
}

const ended = (): Result<never> => refuse('state_conflict', 'task.open', 'the task has ended')

const otherRequest = (): Result<never> =>
  refuse(
    'request_invalid',
    'idempotency_key',
    'the key was sent with another request; take a new key for a new request',
  )

const limited = (rule: string, max: number, retryAfterSeconds: number, who = 'a workload may have'): Result<never> =>
  refuse('limit_reached', rule, `${who} ${max}`, retryAfterSeconds)
