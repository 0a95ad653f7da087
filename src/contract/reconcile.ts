import { z } from 'zod'
import { grantIdField, nameField, timeField } from './fields.ts'

/** How many single leases and grants an answer names; the counts are of all. */
export const mostNamed = 100

const count = z.int().nonnegative()

/** One role of a mount, compared with the ledger. */
const comparedSchema = z
  .object({
    engine: z.string(),
    mount: z.string(),
    role: z.string(),
    credentials: z
      .array(nameField)
      .describe('Credentials that name it; none for a role that only grants still hang on'),
    leases: count.describe('Leases that Vault lists'),
    grants: count.describe('Live grants of it, as the ledger has them'),
    orphans: count.describe('Leases that no grant accounts for: revoked, or in a dry run to be'),
    foreign: count.describe('The same where others use the role too: left alone, and a finding'),
    spared: count.describe('Leases that may be those behind wrapping tokens of live grants'),
    gone: count.describe('Live grants whose secret Vault says has ended: ended, or in a dry run to be'),
    unproved: count.describe('Grants that seem gone to a standby of Vault: looked at again in the next round'),
    problem: z.string().nullable().describe('What could not be done here; the other roles were compared all the same'),
  })
  .meta({ id: 'ComparedRole' })
export type Compared = z.infer<typeof comparedSchema>

/** What a round came to: the answer of `POST /v1/reconcile`. */
export const reconcileResultSchema = z
  .object({
    trigger: z.enum(['start', 'interval', 'demand']),
    dry_run: z.boolean(),
    started_at: timeField,
    took_ms: count,
    /** False when something could not be done somewhere. */
    complete: z.boolean(),
    leases: count,
    orphans: count,
    foreign: count,
    gone: count,
    unsettled: count.describe('Grants whose mint has no outcome yet; two minutes after it began they are settled'),
    findings: z.object({ opened: count, closed: count }),
    roles: z.array(comparedSchema),
    orphan_leases: z
      .array(z.object({ credential: nameField.nullable(), lease_hash: z.string() }))
      .describe('The first of the orphans; the hash is that of their entries'),
    gone_grants: z
      .array(z.object({ grant: grantIdField, credential: nameField, detail: z.string() }))
      .describe('The first of the grants that are gone, and what is known of why'),
  })
  .meta({ id: 'ReconcileResult' })
export type ReconcileResult = z.infer<typeof reconcileResultSchema>

export const reconcileRequestSchema = z
  .strictObject({ dry_run: z.boolean().optional().describe('Look, and change nothing') })
  .meta({ id: 'ReconcileRequest' })
export type ReconcileRequest = z.infer<typeof reconcileRequestSchema>

/** Answer of `GET /v1/reconcile`. */
export const reconcileStatusSchema = z
  .object({
    running: z
      .object({
        trigger: z.enum(['start', 'interval', 'demand']),
        dry_run: z.boolean(),
        started_at: timeField,
        roles: count.describe('Roles to be compared'),
        roles_done: count,
        leases: count.describe('Leases seen so far'),
        orphans: count,
        gone: count,
      })
      .nullable(),
    last: reconcileResultSchema.nullable(),
  })
  .meta({ id: 'ReconcileStatus' })
export type ReconcileStatus = z.infer<typeof reconcileStatusSchema>
