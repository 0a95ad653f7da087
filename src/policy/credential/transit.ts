import { z } from 'zod'
import { textField } from '../../contract/fields.ts'
import { type CredentialKind, common, roleField, ttlField } from './kind.ts'

const audience = textField(2048).min(1)
// RFC 6749 section 3.3, scope-token.
const scope = z
  .string()
  .regex(/^[!#-[\]-~]+(?: [!#-[\]-~]+)*$/, 'scope names with one space between each two')
  .max(1024)

/** What the broker says itself in every token (RFC 9068 section 2.2, RFC 7800), and of the grant. */
const ownClaims: ReadonlySet<string> = new Set([
  ...['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'client_id', 'scope', 'cnf'],
  ...['workload', 'purpose', 'environment', 'owner', 'task'],
])
const claimName = z
  .string()
  .regex(/^[a-z][a-z0-9_]{0,55}$/, 'a claim name: lower-case letters, digits and `_`')
  .refine((name) => !ownClaims.has(name), 'a claim that the broker does not set itself')

/** `delivery` is narrower than that of other engines: the token is put together here, so Vault has nothing to wrap. */
const schema = z.strictObject({
  ...common,
  engine: z.literal('transit'),
  key: roleField.describe('Key of the transit mount that signs; it must be able to sign'),
  audience: z
    .union([audience, z.array(audience).min(1).max(10)])
    .describe('Whom the token is for: `aud` of the token (RFC 9068)'),
  scope: scope.optional().describe('`scope` of the token (RFC 9068)'),
  bound: z
    .boolean()
    .default(false)
    .describe('true: only for callers that prove a key (DPoP), to which the token is bound (`cnf`)'),
  claims: z
    .record(claimName, textField(1024))
    .default({})
    .describe('Further claims, as text; may hold {{workload}}, {{grant}}, {{purpose}}, {{environment}}, …'),
  ttl: ttlField,
  revocable: z.literal(false).optional().describe('A signed token cannot be ended by the broker'),
  delivery: z
    .array(z.enum(['plain', 'jwe']))
    .min(1)
    .max(2)
    .default(['plain', 'jwe'])
    .describe('How the secret may travel; the first is used when the caller does not say'),
})

/** An access token for one task, signed by a key that never leaves Vault. */
export const transit: CredentialKind<typeof schema> = {
  schema,
  callerParams: {},
  target: ({ key, audience, scope, bound, claims }) => ({
    role: key,
    params: {
      audience,
      ...(scope !== undefined && { scope }),
      ...(bound && { bound }),
      ...Object.fromEntries(Object.entries(claims).map(([name, value]) => [`claim_${name}`, value])),
    },
  }),
  isStatic: false,
}
