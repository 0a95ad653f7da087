import { z } from 'zod'

const reloadStatusSchema = z.object({
  digest: z.string(),
  loaded_at: z.string(),
  workloads: z.int(),
  /** The last reload that was refused, while the set before it stays in force. */
  refused: z.object({ at: z.string(), problems: z.array(z.string()) }).nullable(),
})
/** What is in force since when. */
export type ReloadStatus = z.infer<typeof reloadStatusSchema>

const heldChangeSchema = z.object({
  digest: z.string().describe('The set in force, which does not support them'),
  since: z.string(),
  live: z.int().describe('Grants that were live when it was held'),
  would_end: z.int().describe('How many of them end once an operator accepts it'),
  reasons: z
    .array(z.object({ reason: z.string(), grants: z.int() }))
    .describe('Why, the most frequent first; at most 100'),
})
/** The end of grants that waits for an operator. */
export type HeldChange = z.infer<typeof heldChangeSchema>

const endingField = z.int().describe('Grants that the policies in force do not support, and whose end is under way')

/** Part of `/readyz`, which anybody reads: what is held is counted, not told. */
export const policyReadinessSchema = reloadStatusSchema
  .extend({ held: heldChangeSchema.omit({ reasons: true }).nullable(), ending: endingField })
  .meta({ id: 'PolicyReadiness' })

/** Answer of `GET /v1/policies` and `POST /v1/policies/reload`. */
export const policyStatusSchema = reloadStatusSchema
  .extend({ held: heldChangeSchema.nullable(), ending: endingField })
  .meta({ id: 'PolicyStatus' })
export type PolicyStatus = z.infer<typeof policyStatusSchema>

/** Body of `POST /v1/policies/accept`. */
export const acceptRequestSchema = z
  .strictObject({
    digest: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'the digest of a set of policies: SHA-256 in lower-case hexadecimal')
      .describe('The set that is held, so that nobody accepts another than the one that was looked at'),
  })
  .meta({ id: 'AcceptRequest' })
