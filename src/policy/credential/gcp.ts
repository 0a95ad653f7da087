import { z } from 'zod'
import { type CredentialKind, common, given, paramText, roleField, ttlField } from './kind.ts'

const schema = z
  .strictObject({
    ...common,
    engine: z.literal('gcp'),
    account: z
      .enum(['roleset', 'static-account', 'impersonated-account'])
      .describe('What of the gcp mount `role` names'),
    role: roleField.describe('Name of the roleset or account'),
    secret: z
      .enum(['token', 'key'])
      .describe('token: an OAuth access token, which nothing ends early; key: a key of the service account'),
    params: z
      .strictObject({
        key_algorithm: paramText.optional().describe('Algorithm of the key'),
        key_type: paramText.optional().describe('Form of the key'),
      })
      .default({})
      .describe('`key_algorithm` and `key_type` of a key, as Vault takes them'),
    ttl: ttlField,
  })
  .refine(({ secret, params }) => secret === 'key' || Object.keys(params).length === 0, {
    path: ['params'],
    error: 'a `token` takes no parameters',
  })
  .refine(({ secret, account }) => secret === 'token' || account !== 'impersonated-account', {
    path: ['secret'],
    error: 'an `impersonated-account` has tokens only',
  })

/** An access token or a key of a service account of Google Cloud. */
export const gcp: CredentialKind<typeof schema> = {
  schema,
  callerParams: {},
  target: ({ account, role, secret, params }) =>
    secret === 'token'
      ? {
          role: `${account}/${role}/token`,
          params: {},
          leased: {
            method: 'read',
            fields: ['token'],
            optional: ['token_ttl', 'expires_at_seconds'],
            id: { fields: ['token'], type: 'token_sha256' },
            expires: { field: 'expires_at_seconds', as: 'unix_time' },
            revocable: false,
          },
        }
      : {
          role: `${account}/${role}/key`,
          params: given(params),
          leased: {
            method: 'write',
            ttlParam: 'ttl',
            fields: ['private_key_data'],
            optional: ['key_algorithm', 'key_type'],
            revocable: true,
          },
        },
  isStatic: false,
}
