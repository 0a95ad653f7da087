import { z } from 'zod'
import { durationField, nameField, taskIdField, textField, timeField } from './fields.ts'
import { endedGrantSchema } from './grant.ts'

export const taskRequestSchema = z
  .strictObject({
    purpose: nameField.describe('The purpose the task works for'),
    intent: textField(500).min(1).describe('What the task is about to do, in words an auditor can read'),
    ttl: durationField.optional(),
  })
  .meta({ id: 'TaskRequest' })
export type TaskRequest = z.infer<typeof taskRequestSchema>

export const taskSchema = z
  .object({
    task: taskIdField,
    workload: nameField,
    purpose: nameField,
    intent: z.string(),
    status: z.enum(['open', 'ended']),
    opened_at: timeField,
    expires_at: timeField,
    ended_at: timeField.nullable(),
    heartbeat_due_at: timeField
      .nullable()
      .describe(
        'When its holder must have said again that it is at work; null where nobody asks, and once it has ended',
      ),
    heartbeat_seconds: z.int().nullable().describe('How long its holder may be silent; null where nobody asks'),
    run: z
      .string()
      .nullable()
      .describe('The CI job or pod that the task was derived from; null for one that was asked for'),
    grants: z.int().describe('Credentials it was ever given'),
  })
  .meta({ id: 'Task' })
export type TaskView = z.infer<typeof taskSchema>

export const endTaskRequestSchema = z
  .strictObject({
    outcome: textField(500).optional(),
    idle: z
      .boolean()
      .optional()
      .describe('End it only if nothing hangs on it; otherwise `state_conflict`. For one of several who share a task'),
  })
  .meta({ id: 'EndTaskRequest' })
export type EndTaskRequest = z.infer<typeof endTaskRequestSchema>
export const endedTaskSchema = z
  .object({ task: taskIdField, status: z.literal('ended'), grants: z.array(endedGrantSchema) })
  .meta({ id: 'EndedTask' })
export type EndedTask = z.infer<typeof endedTaskSchema>
