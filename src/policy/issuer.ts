import { z } from 'zod'
import { isTrustDomain } from '../base/spiffe-id.ts'
import { durationField, nameField } from '../contract/fields.ts'
import { subjectEventNames } from '../contract/signal.ts'

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

const audience = z.union([z.string().min(1).max(2048), z.array(z.string().min(1).max(2048)).min(1).max(10)])

/** What the issuer may tell the broker of its subjects, as security event tokens (SSF 1.0, RFC 8417). */
const signals = z.strictObject({
  audience: audience.describe('A signal must carry one of them'),
  events: z
    .array(z.enum(subjectEventNames))
    .min(1)
    .max(subjectEventNames.length)
    .default(subjectEventNames)
    .describe('Events it may send; all when absent'),
  max_age: durationField
    .default('1h')
    .describe('Greatest age of a signal since its `iat`; signals that arrive later are refused'),
  speaks_for: z
    .array(nameField)
    .min(1)
    .max(100)
    .optional()
    .describe('Issuer documents of whose subjects it may tell; itself alone when absent'),
})

/** Where to ask whether a token is still good, by the TokenReview API of Kubernetes (`authentication.k8s.io/v1`). */
const tokenReview = z.strictObject({
  url: z
    .string()
    .min(1)
    .max(2048)
    .default('https://kubernetes.default.svc')
    .describe('The API server; that of the cluster the broker runs in when absent. https only'),
  token_file: z
    .string()
    .min(1)
    .max(4096)
    .describe('Token of the broker itself, which may create `tokenreviews`; read anew for each review'),
  ca_file: z
    .string()
    .min(1)
    .max(4096)
    .describe('Certificates (PEM) of who vouches for the API server, and nobody else'),
})

/** A trusted signer of workload tokens, of signals, or of both (`kind: Issuer`). */
export const issuerSchema = z.strictObject({
  kind: z.literal('Issuer'),
  name: nameField,
  flavour: z
    .enum([
      'generic',
      'kubernetes',
      'github-actions',
      'gitlab',
      'terraform',
      'buildkite',
      'circleci',
      'spiffe',
      'google',
      'azure',
      'aws',
    ])
    .default('generic'),
  url: z
    .string()
    .min(1)
    .max(2048)
    .describe('Must equal the `iss` claim, byte for byte; `spiffe://` and the trust domain where SVIDs have no `iss`'),
  trust_domain: z
    .string()
    .refine(isTrustDomain, 'a trust domain: lower-case letters, digits, dots, hyphens and underscores')
    .optional()
    .describe('Of a spiffe issuer alone, and needed there: the trust domain whose workloads it speaks for'),
  audience: audience
    .optional()
    .describe('A token must carry one of them; absent in an Issuer of signals alone, none of whose tokens are taken'),
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
  token_review: tokenReview
    .optional()
    .describe('Has the API server look at each token last of all; of flavour kubernetes only'),
  environment: environmentSource.optional(),
  signals: signals.optional().describe('Lets it send signals (SSF); without it none of its signals are taken'),
})

/** An Issuer document as the loader hands it on. */
export type IssuerPolicy = Readonly<z.infer<typeof issuerSchema>>
/** The block that has tokens reviewed by the API server that issued them. */
export type TokenReviewPolicy = NonNullable<IssuerPolicy['token_review']>
/** The block that lets an Issuer send signals. */
export type SignalsPolicy = NonNullable<IssuerPolicy['signals']>
