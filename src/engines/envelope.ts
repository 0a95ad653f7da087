import { z } from 'zod'

const wrapInfo = z.object({
  token: z.string().min(1),
  accessor: z.string().min(1),
  ttl: z.number(),
  creation_time: z.string(),
  creation_path: z.string(),
  /** Of the token that waits inside, where it is one. */
  wrapped_accessor: z.string().optional(),
})

const auth = z.object({
  client_token: z.string().min(1),
  accessor: z.string().default(''),
  lease_duration: z.number().nonnegative(),
  renewable: z.boolean(),
  /** All there are: those of the token and those that its identity adds. */
  policies: z.array(z.string()).default([]),
  orphan: z.boolean().default(false),
  num_uses: z.number().default(0),
})

/** The envelope around every answer of Vault. What comes back over the wire is parsed like any other outside input. */
export const envelopeSchema = z.object({
  lease_id: z.string().default(''),
  renewable: z.boolean().default(false),
  lease_duration: z.number().nonnegative().default(0),
  data: z.record(z.string(), z.unknown()).nullish(),
  wrap_info: wrapInfo.nullish(),
  auth: auth.nullish(),
})

/** A parsed answer of Vault. May hold secrets: it never goes into a message, a log or a span. */
export type VaultResponse = z.infer<typeof envelopeSchema>
export type WrapInfo = z.infer<typeof wrapInfo>

/** What `GET sys/health` says. `enterprise` is told by HashiCorp Vault only. */
export const healthSchema = z.object({
  initialized: z.boolean().optional(),
  sealed: z.boolean(),
  standby: z.boolean(),
  version: z.string(),
  server_time_utc: z.number().optional(),
  enterprise: z.boolean().optional(),
})
