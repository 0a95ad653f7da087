import type { TaskId } from '../base/ids.ts'
import { timeText } from '../contract/fields.ts'
import type { TaskView } from '../contract/task.ts'
import type { Indexing } from '../state/state.ts'
import type { RetryKey } from './grant.ts'
import { keepEndedMs } from './registry.ts'

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
  /** Within how many seconds its holder must be heard of; absent where nobody asks. */
  readonly heartbeatSeconds?: number | undefined
  /** When its holder was last heard of, where anybody asks; a start of the broker counts, for nobody could call before. */
  readonly heardAtMs?: number | undefined
  /** The job or pod that the token names, where the task was derived from it. */
  readonly run?: string | undefined
  /** What whoever opened it can recognise it by when the answer was lost. */
  readonly retry?: RetryKey | undefined
  /** How many grants it was ever given a place for. */
  readonly granted?: number | undefined
}

export type TaskEndCause = 'holder' | 'deadline' | 'revoked' | 'signal' | 'policy' | 'heartbeat'

/** When its holder must be heard of next; `undefined` where nobody asks. */
const heartbeatDueMs = ({ heartbeatSeconds, heardAtMs, openedAtMs }: Task): number | undefined =>
  heartbeatSeconds === undefined ? undefined : (heardAtMs ?? openedAtMs) + heartbeatSeconds * 1000

/** Why time ends the task now; `undefined` while it does not. */
export function overdue(task: Task, nowMs: number): 'deadline' | 'heartbeat' | undefined {
  if (task.expiresAtMs <= nowMs) return 'deadline'
  const dueMs = heartbeatDueMs(task)
  return dueMs !== undefined && dueMs <= nowMs ? 'heartbeat' : undefined
}

/** Whether work may go on under it. One that is overdue is over, also before anything has looked at the clock and ended it. */
export const isOpen = (task: Task, nowMs: number): boolean =>
  task.status === 'open' && overdue(task, nowMs) === undefined

/** Labels of the open task, of which there is at most one, that was derived from a run or opened with a key. */
export const openRun = (workload: string, purpose: string, run: string): string =>
  `open-run=${workload}/${purpose}/${run}`
export const openKey = (key: string): string => `open-key=${key}`
/** The same for all, those that have ended included. */
export const anyRun = (workload: string, purpose: string, run: string): string => `run=${workload}/${purpose}/${run}`

export const openOf = (workload: string): string => `open=${workload}`

export function indexingOf(task: Task): Indexing {
  const { workload, purpose, run, retry } = task
  const labels = [`workload=${workload}`, ...(run === undefined ? [] : [anyRun(workload, purpose, run)])]
  if (task.status === 'ended') return { labels, forgetAtMs: (task.endedAtMs ?? 0) + keepEndedMs }
  return {
    labels: [
      ...labels,
      openOf(workload),
      'open',
      ...(run === undefined ? [] : [openRun(workload, purpose, run)]),
      ...(retry === undefined ? [] : [openKey(retry.key)]),
    ],
    dueAtMs: Math.min(task.expiresAtMs, heartbeatDueMs(task) ?? task.expiresAtMs),
  }
}

/** The fields that say which task an entry is about. */
export const aboutTask = (task: Task) => ({
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
  heartbeat_due_at: task.status === 'open' ? timeOrNull(heartbeatDueMs(task)) : null,
  heartbeat_seconds: task.heartbeatSeconds ?? null,
  run: task.run ?? null,
  grants: task.granted ?? 0,
})

const timeOrNull = (ms: number | undefined): string | null => (ms === undefined ? null : timeText(ms))
