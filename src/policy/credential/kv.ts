import { z } from 'zod'
import { durationField } from '../../contract/fields.ts'
import { type CredentialKind, common, pathField, ttlField } from './kind.ts'

const schema = z.strictObject({
  ...common,
  engine: z.literal('kv'),
  path: pathField.describe('Path below the kv version 2 mount'),
  keys: z.array(z.string().min(1).max(200)).min(1).max(50).optional().describe('Only these fields are handed out'),
  version: z.int().min(1).optional().describe('This version only; the latest when absent'),
  ttl: ttlField.optional().describe('How long a grant of it is taken to last; the secret itself does not end'),
  rotate_every: durationField
    .default('90d')
    .describe('How long one version may stand; a finding counts the days of one that was handed out and stands longer'),
  revocable: z.literal(false).optional().describe('A static secret cannot be ended by the broker'),
})

/** A secret of a kv version 2 mount. */
export const kv: CredentialKind<typeof schema> = {
  schema,
  callerParams: {},
  target: ({ path, keys, version }) => ({
    role: path,
    params: { ...(keys !== undefined && { keys }), ...(version !== undefined && { version }) },
  }),
  isStatic: true,
}
