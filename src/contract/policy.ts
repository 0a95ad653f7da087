import { z } from 'zod'

/** Answer of `POST /v1/policies/reload`, and part of `/readyz`. */
export const policyStatusSchema = z
  .object({
    digest: z.string(),
    loaded_at: z.string(),
    workloads: z.int(),
    /** The last reload that was refused, while the set before it stays in force. */
    refused: z.object({ at: z.string(), problems: z.array(z.string()) }).nullable(),
  })
  .meta({ id: 'PolicyStatus' })
export type PolicyStatus = z.infer<typeof policyStatusSchema>
