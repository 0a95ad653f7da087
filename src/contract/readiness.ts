import { z } from 'zod'
import { policyReadinessSchema } from './policy.ts'

const dependency = z.object({
  ready: z.boolean(),
  problem: z.string().nullable().describe('What is wrong and what to do, in the words of the broker'),
})

const instant = z.iso.datetime({ precision: 3 })

/** One of the broker's own Vault tokens. The leases of its grants end together with it. */
const vaultToken = z.object({
  generation: z.int().describe('Counts logins; `grant.issued` entries name it'),
  current: z.boolean().describe('Whether new leases are made under it; the others are kept for theirs'),
  grants: z.int().describe('Live grants that hang on it'),
  logged_in_at: instant,
  expires_at: instant.nullable().describe('When it ends unless it is renewed; null for a token that never ends'),
  ends_at: instant.nullable().describe('When no renewal can keep it any longer; null where there is no such limit'),
})

/** Answer of `/readyz`: `200` when `ready`, otherwise `503`. An issuer that is down does not make the broker unready. */
export const readinessSchema = z
  .object({
    ready: z.boolean(),
    draining: z.boolean(),
    issuers: z.array(dependency.extend({ name: z.string() })),
    vault: dependency.extend({ tokens: z.array(vaultToken) }),
    ledger: dependency.extend({ size: z.int() }),
    state: dependency,
    policy: policyReadinessSchema,
  })
  .meta({ id: 'Readiness' })
export type Readiness = z.infer<typeof readinessSchema>
