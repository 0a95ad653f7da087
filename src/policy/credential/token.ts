import { z } from 'zod'
import { type CredentialKind, common, roleField, ttlField } from './kind.ts'

const policyName = z
  .string()
  .regex(/^[a-z0-9_][a-z0-9_./-]{0,127}$/, 'a Vault policy: lower-case letters, digits, `_`, `-`, `.` and `/`')
  .refine((name) => name !== 'root', 'the policy `root` is never handed out')

const schema = z.strictObject({
  ...common,
  engine: z.literal('token'),
  mount: z.literal('auth/token').default('auth/token').describe('Where Vault makes tokens'),
  role: roleField.describe(
    'Token role (`auth/token/roles/…`): it lets the broker hand out policies that its own token lacks',
  ),
  policies: z
    .array(policyName)
    .min(1)
    .max(20)
    .describe(
      'All that the token may; `default` only where it is named. A token that Vault gives more is not handed out',
    ),
  uses: z.int().min(1).max(1_000_000).optional().describe('The token ends after so many calls to Vault'),
  ttl: ttlField,
})

/** A Vault token limited to policies, made by a token role. */
export const token: CredentialKind<typeof schema> = {
  schema,
  callerParams: {},
  target: ({ role, policies, uses }) => ({
    role,
    params: { policies: [...new Set(policies)].sort(), ...(uses !== undefined && { uses }) },
  }),
  isStatic: false,
}
