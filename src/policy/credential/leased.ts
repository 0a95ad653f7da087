import { z } from 'zod'
import { type CredentialKind, common, paramName, paramsField, pathField, ttlField } from './kind.ts'

const fieldName = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/, 'a field of the answer: letters, digits, `_` and `-`')

const response = z
  .strictObject({
    fields: z
      .array(fieldName)
      .min(1)
      .max(30)
      .describe('Fields that are handed out; an answer without one is refused. Wrapped, Vault wraps the whole answer'),
    optional: z.array(fieldName).max(30).default([]).describe('Fields that are handed out where Vault answers them'),
    id: z
      .strictObject({
        field: fieldName.describe('One of the fields'),
        type: z
          .enum(['username', 'ldap_user', 'service_account', 'access_key_id', 'client_id', 'token_sha256'])
          .describe('What it is; of a field that is the secret itself, `token_sha256`'),
      })
      .optional()
      .describe(
        'The field by which a leaked secret is known; it goes into the ledger, with `token_sha256` as its digest',
      ),
    expires: z
      .strictObject({
        field: fieldName.describe('A field of the answer'),
        as: z.enum(['seconds', 'unix_time', 'jwt']).describe('How it says so'),
      })
      .optional()
      .describe(
        'The field that says when the secret ends, where its lease does not: in seconds, at a second since 1970, or in the `exp` of a JWT',
      ),
  })
  .describe('What Vault answers')

const notAnEngine = ['sys', 'auth', 'identity', 'cubbyhole']

const schema = z
  .strictObject({
    ...common,
    mount: common.mount.refine(
      (mount) => !notAnEngine.includes(mount.split('/', 1)[0] ?? ''),
      `the mount of a secrets engine, not ${notAnEngine.map((name) => `\`${name}\``).join(', ')}`,
    ),
    engine: z.literal('leased'),
    method: z.enum(['read', 'write']).describe('How Vault is asked: GET or POST'),
    path: pathField.describe('Path below the mount, with the name of the role, such as `creds/deploy`'),
    params: paramsField,
    ttl_param: paramName.optional().describe('Parameter that takes the life that was decided, where the path has one'),
    response,
    ttl: ttlField,
    revocable: z
      .boolean()
      .default(true)
      .describe('false: ending the lease ends nothing, or there is none, so the secret ends by expiry only'),
  })
  .refine(
    ({ method, params, ttl_param: ttl }) =>
      method === 'write' || (Object.keys(params).length === 0 && ttl === undefined),
    {
      path: ['method'],
      error: 'only `method: write` takes `params` and `ttl_param`',
    },
  )
  .refine(({ response: { fields, optional, id } }) => id === undefined || [...fields, ...optional].includes(id.field), {
    path: ['response', 'id', 'field'],
    error: 'the id is one of the fields',
  })

/** A secret of any engine that answers one call with a lease, or with the end of what it made. */
export const leased: CredentialKind<typeof schema> = {
  schema,
  callerParams: {},
  target: ({ path, params, method, ttl_param: ttlParam, response: { fields, optional, id, expires }, revocable }) => ({
    role: path,
    params,
    leased: {
      method,
      ...(ttlParam !== undefined && { ttlParam }),
      fields,
      optional,
      ...(id !== undefined && { id: { fields: [id.field], type: id.type } }),
      ...(expires !== undefined && { expires }),
      revocable,
    },
  }),
  isStatic: false,
}
