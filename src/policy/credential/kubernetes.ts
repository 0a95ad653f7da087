import { z } from 'zod'
import { type CredentialKind, common, given, paramText, roleField, ttlField } from './kind.ts'

const schema = z.strictObject({
  ...common,
  engine: z.literal('kubernetes'),
  role: roleField.describe('Role of the kubernetes mount'),
  service_account: z
    .enum(['generated', 'existing'])
    .default('generated')
    .describe('existing: the role names a service account, whose tokens Vault cannot end, so they end by expiry only'),
  params: z
    .strictObject({
      kubernetes_namespace: paramText.optional().describe('Needed unless the role has one namespace'),
      cluster_role_binding: z.boolean().optional().describe('Bind for the whole cluster'),
      audiences: z.array(paramText).min(1).max(10).optional().describe('Whom the token is for'),
    })
    .default({})
    .describe('`kubernetes_namespace`, `cluster_role_binding` and `audiences`, as Vault takes them'),
  ttl: ttlField,
})

/** A token of a service account of a Kubernetes cluster. */
export const kubernetes: CredentialKind<typeof schema> = {
  schema,
  callerParams: {},
  target: ({ role, params, service_account: account }) => ({
    role: `creds/${role}`,
    params: given(params),
    leased: {
      method: 'write',
      ttlParam: 'ttl',
      fields: ['service_account_token', 'service_account_name', 'service_account_namespace'],
      optional: [],
      id: { fields: ['service_account_namespace', 'service_account_name'], type: 'service_account' },
      expires: { field: 'service_account_token', as: 'jwt' },
      revocable: account === 'generated',
    },
  }),
  isStatic: false,
}
