import { z } from 'zod'
import type { MintTarget } from '../engines/engine.ts'
import { aws } from './credential/aws.ts'
import { azure } from './credential/azure.ts'
import { database } from './credential/database.ts'
import { gcp } from './credential/gcp.ts'
import type { CredentialKind } from './credential/kind.ts'
import { kubernetes } from './credential/kubernetes.ts'
import { kv } from './credential/kv.ts'
import { ldap } from './credential/ldap.ts'
import { leased } from './credential/leased.ts'
import { pki } from './credential/pki.ts'
import { rabbitmq } from './credential/rabbitmq.ts'
import { ssh } from './credential/ssh.ts'
import { token } from './credential/token.ts'
import { transit } from './credential/transit.ts'

export { templateNames } from './credential/kind.ts'

// A new engine is one file beside these and one line in each of the two lists.
const kinds = { database, pki, ssh, kv, rabbitmq, transit, token, leased, kubernetes, ldap, aws, gcp, azure }

/** A named thing an engine can mint (`kind: Credential`). */
export const credentialSchema = z
  .discriminatedUnion('engine', [
    database.schema,
    pki.schema,
    ssh.schema,
    kv.schema,
    rabbitmq.schema,
    transit.schema,
    token.schema,
    leased.schema,
    kubernetes.schema,
    ldap.schema,
    aws.schema,
    gcp.schema,
    azure.schema,
  ])
  .meta({ title: 'Credential', description: 'A named secret that an engine of Vault can mint' })

/** A Credential document as the loader hands it on. */
export type CredentialPolicy = Readonly<z.infer<typeof credentialSchema>>
type EngineName = CredentialPolicy['engine']

/** Names of the engines, as Credential documents and guardrails use them. */
export const engineNames = Object.keys(kinds) as [EngineName, ...EngineName[]]

const kindOf = (policy: CredentialPolicy): CredentialKind<z.ZodType> =>
  kinds[policy.engine] as unknown as CredentialKind<z.ZodType>

/** Parameters the engine takes from the caller by itself, and whether it can do without. */
export const callerParamsOf = (policy: CredentialPolicy): CredentialKind<z.ZodType>['callerParams'] =>
  kindOf(policy).callerParams

/** Whether the secret stands until somebody changes it. */
export const isStatic = (policy: CredentialPolicy): boolean => kindOf(policy).isStatic

/** Whether everyone who gets it gets the same secret. */
export function isShared(policy: CredentialPolicy): boolean {
  const kind = kindOf(policy)
  return kind.isShared?.(policy) ?? kind.isStatic
}

/** Role, or path below the mount, and fixed parameters: what the engine is told to mint with. */
export const mintsWith = (policy: CredentialPolicy): Pick<MintTarget, 'role' | 'params' | 'leased'> =>
  kindOf(policy).target(policy)
