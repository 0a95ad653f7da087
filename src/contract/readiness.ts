import { z } from 'zod'
import { policyReadinessSchema } from './policy.ts'

const dependency = z.object({
  ready: z.boolean(),
  problem: z.string().nullable().describe('What is wrong and what to do, in the words of the broker'),
})

/** Answer of `/readyz`: `200` when `ready`, otherwise `503`. An issuer that is down does not make the broker unready. */
export const readinessSchema = z
  .object({
    ready: z.boolean(),
    draining: z.boolean(),
    issuers: z.array(dependency.extend({ name: z.string() })),
    vault: dependency,
    ledger: dependency.extend({ size: z.int() }),
    state: dependency,
    policy: policyReadinessSchema,
  })
  .meta({ id: 'Readiness' })
export type Readiness = z.infer<typeof readinessSchema>
