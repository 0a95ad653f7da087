import { z } from 'zod'
import {
  approvalIdField,
  compositeIdField,
  durationField,
  grantIdField,
  mostParts,
  nameField,
  taskIdField,
  textField,
  timeField,
} from './fields.ts'

const credentialSetField = z
  .array(nameField)
  .min(2)
  .max(mostParts)
  .refine((names) => new Set(names).size === names.length, 'each credential once')

/** How a secret travels: in the answer, behind a response-wrapping token of Vault, or encrypted to a key that the caller proved it holds. */
export const deliveryField = z.enum(['plain', 'wrapped', 'jwe'])
export type Delivery = z.infer<typeof deliveryField>

/** Body of `POST /v1/credentials`. */
export const credentialRequestSchema = z
  .strictObject({
    purpose: nameField,
    credential: z
      .union([nameField, credentialSetField])
      .optional()
      .describe('Which one of the purpose; a list asks for several, all or nothing'),
    ttl: durationField.optional(),
    task: taskIdField.optional(),
    reason: textField(500).optional(),
    delivery: deliveryField.optional().describe('`jwe` needs a proof in the `DPoP` header'),
    params: z
      .record(z.string().regex(/^[a-z][a-z0-9_]{0,63}$/, 'a parameter name'), z.string().max(16_384))
      .refine((params) => Object.keys(params).length <= 16, 'at most 16 parameters')
      .optional(),
    approval: approvalIdField.optional(),
    receipt: z
      .enum(['wait'])
      .optional()
      .describe('Wait for the receipt of the issuance, for up to a second, and answer with it'),
  })
  .meta({ id: 'CredentialRequest' })
export type CredentialRequest = z.infer<typeof credentialRequestSchema>

/** When a secret that many may get was last changed, and when it will be. */
const rotationSchema = z.object({
  rotated_at: timeField,
  rotates_at: timeField.optional().describe('The secret ends then; absent where nothing rotates it by itself'),
  every: z.int().optional().describe('Seconds between rotations, where they are regular'),
})

/** Body of the `201` answer: the one place a secret is written. */
export const issuedCredentialSchema = z
  .object({
    grant: grantIdField,
    workload: nameField,
    purpose: nameField,
    credential: nameField,
    environment: z.string(),
    issued_at: timeField,
    expires_at: timeField.nullable().describe('null for a static secret, which does not end by itself'),
    ttl_capped_by: z.array(z.string()),
    renewable: z.boolean(),
    revocable: z.boolean().describe('false: nothing can end this secret before it expires'),
    delivery: deliveryField,
    rotation: rotationSchema.optional().describe('Of a secret that stands: kv, and static roles of databases'),
    secret: z
      .record(z.string(), z.unknown())
      .describe(
        "Vault's own field names; `wrap_info` fields when wrapped; `jwe` alone, a compact JWE of them, with `jwe`",
      ),
    task: taskIdField.optional(),
    ledger: z.object({
      index: z.int(),
      receipt: z.string().describe('Where the receipt can be fetched'),
      proof: z
        .string()
        .nullable()
        .optional()
        .describe('The receipt itself (C2SP tlog-proof), where it was waited for; null when it was not ready in time'),
    }),
  })
  .meta({ id: 'IssuedCredential' })
export type IssuedCredential = z.infer<typeof issuedCredentialSchema>

/** Body of the `201` answer to a list of credentials. */
export const issuedSetSchema = z
  .object({
    composite: compositeIdField.describe('Names the set in the ledger; each credential has a grant of its own'),
    credentials: z.array(issuedCredentialSchema).describe('In the order in which they were asked for'),
  })
  .meta({ id: 'IssuedCredentials' })
export type IssuedSet = z.infer<typeof issuedSetSchema>

/** Body of the `201` answer: of the shape that the request asks for. */
export const issuedSchema = z.union([issuedCredentialSchema, issuedSetSchema])

/** Body of the `202` answer: a person must say yes first. */
export const pendingApprovalSchema = z
  .object({
    approval: approvalIdField,
    status: z.literal('pending'),
    approvers: z.array(nameField),
    expires_at: timeField,
    poll: z.string(),
  })
  .meta({ id: 'PendingApproval' })
export type PendingApproval = z.infer<typeof pendingApprovalSchema>
