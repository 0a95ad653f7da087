import { z } from 'zod'
import { approvalIdField, grantIdField, nameField, textField, timeField } from './fields.ts'

export const approvalSchema = z
  .object({
    approval: approvalIdField,
    status: z.enum(['pending', 'approved', 'denied', 'expired', 'used']),
    level: z.enum(['owner', 'two-person']),
    approvers: z.array(nameField).describe('Teams whose members may approve'),
    approved_by: z.array(z.string()),
    workload: nameField,
    purpose: nameField,
    credential: z
      .union([nameField, z.array(nameField)])
      .describe('One credential, or all of a set, for which one yes stands'),
    environment: z.string(),
    ttl_seconds: z.int(),
    reason: z.string(),
    requested_at: timeField,
    expires_at: timeField,
    grant: grantIdField.nullable(),
  })
  .meta({ id: 'Approval' })
export type ApprovalView = z.infer<typeof approvalSchema>

export const approvalListSchema = z.object({ approvals: z.array(approvalSchema) }).meta({ id: 'ApprovalList' })
export const verdictRequestSchema = z.strictObject({ reason: textField(500).optional() }).meta({ id: 'VerdictRequest' })
