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
import { endedGrantSchema } from './grant.ts'

/** Grants shown of one order; the rest are counted, and all are in the ledger. */
export const mostShownGrants = 1_000
/** Issuance is held for at most this long after an order was carried out. */
export const longestHoldSeconds: number = 7 * 86_400

const matchSchema = z
  .strictObject({
    workload: nameField.optional(),
    purpose: nameField.optional(),
    owner: nameField.optional(),
    credential: nameField.optional(),
    task: taskIdField.optional(),
    issuer: nameField.optional(),
    all: z.literal(true).optional(),
  })
  .refine(
    (match) => Object.keys(match).length === 1,
    'exactly one of workload, purpose, owner, credential, task, issuer, all',
  )

/** Body of the kill switch, `POST /v1/revocations`: exactly one thing to match. */
export const revocationRequestSchema = z
  .strictObject({
    match: matchSchema,
    reason: textField(500),
    dry_run: z.boolean().optional(),
    hold: durationField
      .optional()
      .describe('Refuse to issue what matches for so long after everything has ended, at most 7 days'),
    wait: durationField
      .optional()
      .describe(
        'Answer when everything has ended or was tried, or after so long: 5 minutes at most, 30 seconds by default',
      ),
  })
  .meta({ id: 'RevocationRequest' })
export type RevocationRequest = z.infer<typeof revocationRequestSchema>

/** An order to revoke, and how far it has come. */
export const revocationSchema = z
  .object({
    revocation: revocationIdField,
    status: z.enum(['open', 'completed']).describe('`open`: not everything that matched has ended yet'),
    match: matchSchema,
    teams: z.array(nameField).nullable().describe('Only what these teams own; null where an operator ordered it'),
    reason: z.string(),
    ordered_at: timeField,
    completed_at: timeField.nullable(),
    hold: z.object({
      holding: z.boolean().describe('Whether issuance of what matches is refused now'),
      seconds: z.int().nonnegative().describe('How long it goes on after everything has ended'),
      until: timeField.nullable().describe('Known once everything has ended'),
      lifted_at: timeField.nullable(),
    }),
    matched: z.int(),
    done: z.int().describe('How many of them have ended'),
    tried: z.boolean().describe('Each was tried once; what has not ended by then is tried again until it has'),
    outcomes: z.record(z.string(), z.int()).describe('How many came to what'),
    grants: z
      .array(endedGrantSchema)
      .describe(`What ending each came to, those that have not ended first; ${mostShownGrants} at most`),
    dry_run: z.literal(false),
  })
  .meta({ id: 'Revocation' })
export type RevocationView = z.infer<typeof revocationSchema>

/** What an order would end. */
export const revocationPreviewSchema = z
  .object({
    matched: z.int(),
    revocable: z.int().describe('How many of them can be ended before they expire'),
    grants: z
      .array(
        z.object({
          grant: grantIdField,
          workload: nameField,
          purpose: nameField,
          credential: nameField,
          revocable: z.boolean(),
          expires_at: timeField.nullable(),
        }),
      )
      .describe(`${mostShownGrants} at most`),
    dry_run: z.literal(true),
  })
  .meta({ id: 'RevocationPreview' })
export type RevocationPreview = z.infer<typeof revocationPreviewSchema>
export const revocationResultSchema = z.union([revocationSchema, revocationPreviewSchema])
export type RevocationResult = RevocationView | RevocationPreview

export const revocationListSchema = z
  .object({ revocations: z.array(revocationSchema.omit({ grants: true })) })
  .meta({ id: 'RevocationList' })
export type RevocationList = z.infer<typeof revocationListSchema>

/** Body of `POST /v1/revocations/{id}/lift`. */
export const liftRequestSchema = z.strictObject({ reason: textField(500).optional() }).meta({ id: 'LiftRequest' })
