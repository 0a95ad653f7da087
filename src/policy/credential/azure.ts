import { z } from 'zod'
import { type CredentialKind, common, roleField, ttlField } from './kind.ts'

const schema = z.strictObject({
  ...common,
  engine: z.literal('azure'),
  role: roleField.describe('Role of the azure mount'),
  ttl: ttlField,
})

/** A client secret of an application of Microsoft Entra ID. */
export const azure: CredentialKind<typeof schema> = {
  schema,
  callerParams: {},
  target: ({ role }) => ({
    role: `creds/${role}`,
    params: {},
    leased: {
      method: 'read',
      fields: ['client_id', 'client_secret'],
      optional: [],
      id: { fields: ['client_id'], type: 'client_id' },
      revocable: true,
    },
  }),
  isStatic: false,
}
