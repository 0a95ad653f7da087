import { z } from 'zod'
import {
  durationField,
  grantIdField,
  nameField,
  revocationIdField,
  taskIdField,
  textField,
  timeField,
} from './fields.ts'

const worksUntilField = z
  .union([timeField, z.literal('rotated')])
  .describe(
    'Nothing could end the secret with its grant: it works until then, or until the stored value is changed (`rotated`)',
  )

/** A grant as its holder, its owner, operators and auditors see it. Never holds the secret or the lease. */
export const grantSchema = z
  .object({
    grant: grantIdField,
    status: z.enum(['pending', 'minting', 'active', 'ending', 'ended']),
    outcome: z.enum(['revoked', 'expired', 'expires_only', 'failed', 'irrevocable', 'gone']).nullable(),
    workload: nameField,
    owner: nameField,
    purpose: nameField,
    environment: z.string(),
    credential: nameField,
    task: taskIdField.nullable(),
    opened_at: timeField,
    issued_at: timeField.nullable(),
    expires_at: timeField.nullable(),
    ended_at: timeField.nullable(),
    renewable: z.boolean(),
    revocable: z.boolean(),
    works_until: worksUntilField.nullable(),
    revocation: revocationIdField.nullable().describe('The order to revoke that it falls under'),
    ids: z.array(z.object({ type: z.string(), value: z.string() })).describe('Public identifiers of what was minted'),
    ledger: z.object({ intent: z.int(), issued: z.int().nullable(), ended: z.int().nullable() }),
  })
  .meta({ id: 'Grant' })
export type GrantView = z.infer<typeof grantSchema>

export const grantListSchema = z
  .object({ grants: z.array(grantSchema), next: z.string().nullable().describe('Send as `after` for the next page') })
  .meta({ id: 'GrantList' })
export type GrantList = z.infer<typeof grantListSchema>

export const grantFilterSchema = z.strictObject({
  workload: nameField.optional(),
  purpose: nameField.optional(),
  owner: nameField.optional(),
  credential: nameField.optional(),
  task: taskIdField.optional(),
  status: z
    .enum(['live', 'ended', 'all', 'expires_only'])
    .default('live')
    .describe('`expires_only`: ended, and the secret works until it expires'),
  after: z.string().max(64).optional(),
  limit: z.coerce.number().int().min(1).max(500).default(100),
})
export type GrantFilter = z.infer<typeof grantFilterSchema>

export const renewRequestSchema = z.strictObject({ ttl: durationField.optional() }).meta({ id: 'RenewRequest' })
export const renewedSchema = z
  .object({ grant: grantIdField, expires_at: timeField, ttl_capped_by: z.array(z.string()) })
  .meta({ id: 'Renewed' })
export type Renewed = z.infer<typeof renewedSchema>

export const revokeRequestSchema = z.strictObject({ reason: textField(500).optional() }).meta({ id: 'RevokeRequest' })
/** What ending one grant came to; a list of these answers the end of a task. */
export const endedGrantSchema = z
  .object({
    grant: grantIdField,
    credential: nameField,
    outcome: z
      .enum(['revoked', 'expired', 'expires_only', 'failed', 'irrevocable', 'gone', 'pending'])
      .describe(
        '`pending`: not ended yet, and tried again; `irrevocable`: the same, and so often that it is a finding',
      ),
    latency_ms: z.int().nonnegative().describe('From the decision to end it until it was; until now while it is not'),
    works_until: worksUntilField.optional(),
  })
  .meta({ id: 'EndedGrant' })
export type EndedGrant = z.infer<typeof endedGrantSchema>

/** Whether the secret may still work because ending it has not succeeded: so far, or at all. */
export const couldNotEnd = ({ outcome }: Pick<EndedGrant, 'outcome'>): boolean =>
  outcome === 'failed' || outcome === 'irrevocable' || outcome === 'pending'
