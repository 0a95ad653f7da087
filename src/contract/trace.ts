import { z } from 'zod'
import { approvalIdField, grantIdField, nameField, taskIdField, timeField } from './fields.ts'

export const traceFilterSchema = z.strictObject({
  q: z
    .string()
    .trim()
    .min(1)
    .max(512)
    .describe(
      'What was found: a database user, certificate serial, SSH key id or serial, token id, SHA-256 of a token or a lease, thumbprint of a key, or the id of a grant, task, approval, set, order or request',
    ),
})

/** Everything that is known of one grant, each fact from the record unless it says otherwise. */
const tracedSchema = z
  .object({
    grant: grantIdField,
    workload: nameField,
    purpose: nameField,
    because: z
      .string()
      .nullable()
      .describe('The business reason, as the policies in force say it; null when the purpose is gone'),
    environment: z.string(),
    owner: nameField.describe('The accountable team'),
    backup: nameField.nullable().describe('As the policies in force say'),
    contact: z
      .record(z.string(), z.string())
      .nullable()
      .describe('Of the accountable team, as the policies in force say'),
    credential: nameField,
    data: z.array(z.string()).describe('What the credential reaches'),
    sensitivity: z.string(),
    task: z.object({ task: taskIdField, intent: z.string().nullable() }).nullable(),
    reason: z.string().nullable().describe('What the request gave as its reason'),
    approval: z
      .object({ approval: approvalIdField, by: z.array(z.object({ subject: z.string(), at: timeField })) })
      .nullable(),
    exception: z.string().nullable(),
    asked_by: z.object({ issuer: z.string(), subject: z.string() }).nullable(),
    ids: z.array(z.object({ type: z.string(), value: z.string() })),
    issued_at: timeField.nullable(),
    expires_at: timeField.nullable(),
    ended_at: timeField.nullable(),
    outcome: z.string().nullable(),
    revocable: z.boolean().nullable().describe('null while nothing is issued'),
    ledger: z.array(z.int()).describe('Index of each entry about it; each has a receipt'),
  })
  .meta({ id: 'TracedGrant' })
export type TracedGrant = z.infer<typeof tracedSchema>

export const traceSchema = z
  .object({
    q: z.string(),
    grants: z.array(tracedSchema).describe('Newest first'),
    more: z.boolean().describe('There are more grants than are listed'),
  })
  .meta({ id: 'Trace' })
export type Trace = z.infer<typeof traceSchema>
