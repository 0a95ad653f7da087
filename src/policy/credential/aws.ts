import { z } from 'zod'
import { type CredentialKind, common, given, paramText, roleField, ttlField } from './kind.ts'

const schema = z
  .strictObject({
    ...common,
    engine: z.literal('aws'),
    role: roleField.describe('Role of the aws mount'),
    credential_type: z
      .enum(['iam_user', 'assumed_role', 'federation_token', 'session_token'])
      .describe('As the role of the mount says. All but `iam_user` are sessions of AWS STS, which nothing ends early'),
    params: z
      .strictObject({
        role_arn: paramText.optional().describe('Which of the roles to assume, where there are several'),
        role_session_name: paramText.optional().describe('Name of the session in the trail of AWS'),
      })
      .default({})
      .describe('`role_arn` and `role_session_name` of a session, as Vault takes them'),
    ttl: ttlField,
  })
  .refine(({ credential_type: type, params }) => type !== 'iam_user' || Object.keys(params).length === 0, {
    path: ['params'],
    error: 'an `iam_user` takes no parameters',
  })

/** An access key of AWS: of a user that Vault makes and deletes, or of a session that ends by itself. */
export const aws: CredentialKind<typeof schema> = {
  schema,
  callerParams: {},
  target: ({ role, credential_type: type, params }) =>
    type === 'iam_user'
      ? {
          role: `creds/${role}`,
          params: {},
          leased: {
            method: 'read',
            fields: ['access_key', 'secret_key'],
            optional: [],
            id: { fields: ['access_key'], type: 'access_key_id' },
            revocable: true,
          },
        }
      : {
          role: `sts/${role}`,
          params: given(params),
          leased: {
            method: 'write',
            ttlParam: 'ttl',
            fields: ['access_key', 'secret_key', 'security_token'],
            // Later versions name the session token as AWS does, beside the old name.
            optional: ['session_token', 'arn'],
            id: { fields: ['access_key'], type: 'access_key_id' },
            // Some roles make no lease and state the life in its place.
            expires: { field: 'ttl', as: 'seconds' },
            revocable: false,
          },
        },
  isStatic: false,
}
