import { z } from 'zod'
import { durationField, nameField } from '../contract/fields.ts'

/** Asymmetric signatures of RFC 7518 and RFC 8037 only: `none` and HMAC cannot be written in a policy. */
const algorithm = z.enum([
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
])

const environmentSource = z.union([
  nameField,
  z.strictObject({
    claim: z.string().min(1).max(200).describe('Claim whose text names the environment'),
    map: z
      .record(z.string().max(200), nameField)
      .describe('Claim text to environment; text that is absent maps to none'),
  }),
])

/** A trusted signer of workload tokens (`kind: Issuer`). */
export const issuerSchema = z.strictObject({
  kind: z.literal('Issuer'),
  name: nameField,
  flavour: z
    .enum(['generic', 'kubernetes', 'github-actions', 'gitlab', 'spiffe', 'google', 'azure', 'aws'])
    .default('generic'),
  url: z.string().min(1).max(2048).describe('Must equal the `iss` claim, byte for byte'),
  audience: z
    .union([z.string().min(1).max(2048), z.array(z.string().min(1).max(2048)).min(1).max(10)])
    .describe('A token must carry one of them'),
  algorithms: z.array(algorithm).min(1).default(['RS256', 'ES256']),
  keys: z.union([
    z.strictObject({ discovery: z.literal(true) }),
    z.strictObject({ jwks_url: z.string().min(1).max(2048) }),
    z.strictObject({ jwks_file: z.string().min(1).max(4096) }),
    z.strictObject({ jwks: z.strictObject({ keys: z.array(z.record(z.string(), z.unknown())).min(1).max(100) }) }),
  ]),
  token: z
    .strictObject({
      max_age: durationField.optional().describe('Greatest age since `iat`'),
      max_life: durationField.optional().describe('Greatest remaining life until `exp`'),
      leeway: durationField.optional().describe('Clock difference that is forgiven; 30s when absent'),
      replay: z.enum(['allow', 'once_per_purpose', 'once']).default('allow'),
    })
    .prefault({}),
  environment: environmentSource.optional(),
})

/** An Issuer document as the loader hands it on. */
export type IssuerPolicy = Readonly<z.infer<typeof issuerSchema>>
