import { z } from 'zod'
import { deliveryField } from '../../contract/credential.ts'
import { durationField, nameField, textField } from '../../contract/fields.ts'
import type { LeasedShape, MintTarget } from '../../engines/engine.ts'

// The safe alphabet of Vault paths: no dot segments, no empty segments, nothing to escape (invariant 9).
const segment = '[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_-])?'
/** Segments of a Vault path below a mount. */
export const pathField = z
  .string()
  .max(512)
  .regex(
    new RegExp(`^${segment}(?:/${segment})*$`),
    'a path of letters, digits, `_`, `-` and inner dots, without a leading or trailing `/`',
  )
export const roleField = z
  .string()
  .regex(new RegExp(`^${segment}$`), 'a Vault role: letters, digits, `_`, `-` and inner dots')

export const paramName = z
  .string()
  .regex(/^[a-z][a-z0-9_]{0,63}$/, 'a parameter name: lower-case letters, digits and `_`')
export const paramText = textField(4096)
export const paramsField = z
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

/** What every Credential says, whatever its engine. */
export const common = {
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

export const ttlField = z
  .strictObject({ max: durationField.describe('Greatest life of one secret') })
  .describe('How long a secret may live')

/** A credential made with a role of a mount; an engine that has more to say extends it. */
const withRole = <E extends string>(engine: E) =>
  z.strictObject({
    ...common,
    engine: z.literal(engine),
    role: roleField.describe('Role of the mount'),
    params: paramsField,
    ttl: ttlField,
    revocable: z
      .boolean()
      .optional()
      .describe('false: declared as ending only by expiry, whatever the engine could do'),
  })

/** What the caller may send for an engine by itself, and whether it can do without. */
type CallerParams = Readonly<Record<string, 'required' | 'optional'>>

/** How Credential documents of one engine are read. */
export interface CredentialKind<S extends z.ZodType> {
  readonly schema: S
  readonly callerParams: CallerParams
  /** What the engine is told to mint with. */
  target(policy: z.infer<S>): Pick<MintTarget, 'role' | 'params' | 'leased'>
  /** Whether the secret stands until somebody changes it, so that policy lets it through by exception only. */
  readonly isStatic: boolean
  /** Whether everyone who gets it gets the same secret; where the kind does not say, whether it is static. */
  isShared?(policy: z.infer<S>): boolean
}

/** An engine whose documents name a role and fixed parameters, and nothing else. */
export function plainKind<E extends string>(engine: E, callerParams: CallerParams = {}) {
  const schema = withRole(engine)
  return {
    schema,
    callerParams,
    target: ({ role, params }: { readonly role: string; readonly params: MintTarget['params'] }) => ({ role, params }),
    isStatic: false,
  }
}

type Param = MintTarget['params'][string]

/** The parameters that a document gives. */
export const given = (params: Readonly<Record<string, Param | undefined>>): Record<string, Param> =>
  Object.fromEntries(Object.entries(params).filter((entry): entry is [string, Param] => entry[1] !== undefined))

/** An engine whose every secret is read at `creds/ROLE` and ends with its lease. */
export function readLeased<E extends string>(
  engine: E,
  roleIs: string,
  answer: Pick<LeasedShape, 'fields' | 'optional' | 'id'>,
) {
  return {
    schema: z.strictObject({
      ...common,
      engine: z.literal(engine),
      role: roleField.describe(roleIs),
      ttl: ttlField,
    }),
    callerParams: {},
    target: ({ role }: { readonly role: string }) => ({
      role: `creds/${role}`,
      params: {},
      leased: { method: 'read' as const, ...answer, revocable: true },
    }),
    isStatic: false,
  }
}
