import { z } from 'zod'
import { deliveryField } from '../contract/credential.ts'
import { durationField, nameField, textField } from '../contract/fields.ts'

// The safe alphabet of Vault paths: no dot segments, no empty segments, nothing to escape (invariant 9).
const segment = '[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_-])?'
const pathField = z
  .string()
  .max(512)
  .regex(
    new RegExp(`^${segment}(?:/${segment})*$`),
    'a path of letters, digits, `_`, `-` and inner dots, without a leading or trailing `/`',
  )
const roleField = z.string().regex(new RegExp(`^${segment}$`), 'a Vault role: letters, digits, `_`, `-` and inner dots')

const paramName = z.string().regex(/^[a-z][a-z0-9_]{0,63}$/, 'a parameter name: lower-case letters, digits and `_`')
const paramText = textField(4096)
const params = z
  .record(paramName, z.union([paramText, z.number(), z.boolean(), z.array(paramText).max(100)]))
  .default({})
  .describe(
    'Fixed parameters of the mint; text may hold {{workload}}, {{grant}}, {{purpose}}, {{environment}}, {{owner}}, {{task}}',
  )

/** What the text of `params` may hold between double braces. */
export const templateNames: ReadonlySet<string> = new Set([
  'workload',
  'grant',
  'purpose',
  'environment',
  'owner',
  'task',
])

const common = {
  kind: z.literal('Credential'),
  name: nameField.describe('Name that purposes use'),
  mount: pathField.describe('Mount path of the engine in Vault'),
  environment: nameField.describe('Only purposes of this environment may name it'),
  sensitivity: z.enum(['low', 'medium', 'high']).describe('What a leak would cost; guardrails apply by it'),
  data: z
    .array(textField(200).min(1))
    .max(100)
    .default([])
    .describe('What the credential reaches, in the words of its owner'),
  exclusive: z
    .boolean()
    .default(true)
    .describe('The broker alone uses this role, so a lease it does not know is an orphan to revoke'),
  accepts: z
    .array(paramName)
    .max(16)
    .default([])
    .describe('Parameters of the caller beyond those the engine itself takes'),
  delivery: z
    .array(deliveryField)
    .min(1)
    .max(3)
    .default(['plain', 'wrapped', 'jwe'])
    .describe(
      'How the secret may travel; the first is used when the caller does not say. `jwe` encrypts it to a key that the caller proves it holds',
    ),
}

const ttl = z
  .strictObject({ max: durationField.describe('Greatest life of one secret') })
  .describe('How long a secret may live')

/** One way to make a credential with a role of a Vault mount. */
const leased = <E extends string>(engine: E) =>
  z.strictObject({
    ...common,
    engine: z.literal(engine),
    role: roleField.describe('Role of the mount'),
    params,
    ttl,
    revocable: z
      .boolean()
      .optional()
      .describe('false: declared as ending only by expiry, whatever the engine could do'),
  })

/** A named thing an engine can mint (`kind: Credential`). */
export const credentialSchema = z
  .discriminatedUnion('engine', [
    leased('database'),
    leased('pki'),
    leased('ssh'),
    z.strictObject({
      ...common,
      engine: z.literal('kv'),
      path: pathField.describe('Path below the kv version 2 mount'),
      keys: z.array(z.string().min(1).max(200)).min(1).max(50).optional().describe('Only these fields are handed out'),
      version: z.int().min(1).optional().describe('This version only; the latest when absent'),
      ttl: ttl.optional().describe('How long a grant of it is taken to last; the secret itself does not end'),
      revocable: z.literal(false).optional().describe('A static secret cannot be ended by the broker'),
    }),
  ])
  .meta({ title: 'Credential', description: 'A named secret that an engine of Vault can mint' })

/** A Credential document as the loader hands it on. */
export type CredentialPolicy = Readonly<z.infer<typeof credentialSchema>>

/** Parameters each engine takes from the caller by itself, and whether it can do without. */
export const callerParams: Readonly<
  Record<CredentialPolicy['engine'], Readonly<Record<string, 'required' | 'optional'>>>
> = {
  database: {},
  pki: { csr: 'optional' },
  ssh: { public_key: 'required' },
  kv: {},
}
