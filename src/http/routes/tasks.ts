import { z } from 'zod'
import type { Broker } from '../../broker.ts'
import { endedTaskSchema, endTaskRequestSchema, taskRequestSchema, taskSchema } from '../../contract/task.ts'
import { decisionCodes } from '../answers.ts'
import { bearerRoute, type Route } from '../route.ts'

const nothing = z.strictObject({})

/** Units of work that grants hang on. */
export const taskRoutes = (broker: Broker): readonly Route[] => [
  bearerRoute({
    method: 'post',
    path: '/v1/tasks',
    tag: 'tasks',
    summary: 'Open a task with a stated intent',
    body: taskRequestSchema,
    answers: [{ status: 201, description: 'The open task', content: taskSchema }],
    codes: [...decisionCodes, 'state_conflict'],
    idempotent: true,
    handle: ({ caller, body, idempotencyKey }) => broker.openTask(caller, body, idempotencyKey),
  }),
  bearerRoute({
    method: 'get',
    path: '/v1/tasks/{id}',
    tag: 'tasks',
    summary: 'Read one task',
    id: 'task',
    answers: [{ status: 200, description: 'The task', content: taskSchema }],
    codes: ['workload_unknown', 'workload_ambiguous', 'not_found'],
    handle: ({ caller, id }) => broker.task(caller, id),
  }),
  bearerRoute({
    method: 'post',
    path: '/v1/tasks/{id}/heartbeat',
    tag: 'tasks',
    summary: 'Say that the task is still at work',
    id: 'task',
    body: nothing,
    answers: [{ status: 200, description: 'The task, and when it must be heard of next', content: taskSchema }],
    codes: [...decisionCodes, 'role_required', 'not_found', 'state_conflict'],
    handle: ({ caller, id }) => broker.heartbeat(caller, id),
  }),
  bearerRoute({
    method: 'post',
    path: '/v1/tasks/{id}/end',
    tag: 'tasks',
    summary: 'End the task and with it every grant it holds',
    id: 'task',
    body: endTaskRequestSchema,
    bulk: true,
    urgent: true,
    answers: [{ status: 200, description: 'Every grant and how long its revocation took', content: endedTaskSchema }],
    codes: [
      'workload_unknown',
      'workload_ambiguous',
      'role_required',
      'not_found',
      'state_conflict',
      'vault_unavailable',
    ],
    handle: ({ caller, id, body }) => broker.endTask(caller, id, body),
  }),
]
