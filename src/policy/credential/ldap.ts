import { z } from 'zod'
import { type CredentialKind, common, roleField, ttlField } from './kind.ts'

const schema = z.strictObject({
  ...common,
  engine: z.literal('ldap'),
  role: roleField.describe('Dynamic role of the ldap mount'),
  ttl: ttlField,
})

/** An entry of a directory, made and deleted by a dynamic role of an ldap mount. */
export const ldap: CredentialKind<typeof schema> = {
  schema,
  callerParams: {},
  target: ({ role }) => ({
    role: `creds/${role}`,
    params: {},
    leased: {
      method: 'read',
      fields: ['username', 'password'],
      optional: ['distinguished_names'],
      id: { fields: ['username'], type: 'ldap_user' },
      revocable: true,
    },
  }),
  isStatic: false,
}
