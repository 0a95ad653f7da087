import { sha256Hex } from '../base/digest.ts'
import type { Secret } from '../base/secret.ts'

/** How the broker proves itself to Vault. What proves it is asked for at each login, so that whoever keeps it may rotate it. */
export type VaultAuthMethod =
  /** `reread`: what the token's file holds by now. */
  | { readonly method: 'token'; readonly token: Secret<string>; readonly reread?: () => Promise<Secret<string>> }
  | { readonly method: 'approle'; readonly ids: () => Promise<AppRoleIds>; readonly mount?: string }
  /** A token that a platform signed: of the pod's service account, or of any issuer that Vault's `jwt` method trusts. */
  | {
      readonly method: 'kubernetes' | 'jwt'
      readonly role: string
      readonly jwt: () => Promise<Secret<string>>
      readonly mount?: string
    }

export interface AppRoleIds {
  readonly roleId: string
  readonly secretId: Secret<string>
}

/** What is needed to get a token, read anew. */
export type Proof =
  | { readonly type: 'given'; readonly by: string; readonly token: Secret<string> }
  | { readonly type: 'login'; readonly by: string; readonly path: string; readonly body: object }

/** `by` names who the broker is to Vault (a SHA-256): tokens of another login are not gone on with. */
export async function proofOf(auth: VaultAuthMethod): Promise<Proof> {
  if (auth.method === 'token') {
    const token = (await auth.reread?.()) ?? auth.token
    return { type: 'given', by: nameOf('token', token.reveal()), token }
  }
  const mount = auth.mount ?? auth.method
  const path = `auth/${mount}/login`
  if (auth.method === 'approle') {
    const { roleId, secretId } = await auth.ids()
    const body = { role_id: roleId, secret_id: secretId.reveal() }
    return { type: 'login', by: nameOf(auth.method, mount, roleId), path, body }
  }
  const body = { role: auth.role, jwt: (await auth.jwt()).reveal() }
  return { type: 'login', by: nameOf(auth.method, mount, auth.role), path, body }
}

const nameOf = (...parts: readonly string[]): string => sha256Hex(JSON.stringify(parts))
