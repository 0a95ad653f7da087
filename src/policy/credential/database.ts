import { z } from 'zod'
import { type CredentialKind, plainKind } from './kind.ts'

const dynamic = plainKind('database')

const schema = dynamic.schema.extend({
  static: z
    .boolean()
    .optional()
    .describe('true: a static role. One user that stands, whose password Vault rotates; it ends by rotation only'),
})

/** A user of a database: made by a dynamic role of a database mount for one grant, or the one of a static role. */
export const database: CredentialKind<typeof schema> = {
  ...dynamic,
  schema,
  target: ({ role, params, static: stands }) => ({
    role,
    params: stands === true ? { ...params, staticRole: true } : params,
  }),
  isShared: (policy) => policy.static === true,
}
