import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { VaultApi } from './vault-api.ts'
import { text } from './vault-setup.ts'

/** The files that `vault.auth` of method `approle` names. */
export interface AppRoleFiles {
  readonly roleIdFile: string
  readonly secretIdFile: string
}

/** Enables the AppRole method: once for each server. */
export const enableAppRole = (api: VaultApi) => api('POST', 'sys/auth/approle', { type: 'approle' })

/**
 * The role that the broker logs in to as in production, so that each login makes a Vault token of its own, with its two files in `dir`.
 * Made again with other `settings`, it is changed.
 */
export async function appRoleIn(
  dir: string,
  api: VaultApi,
  settings: object = { token_period: '1h' },
): Promise<AppRoleFiles> {
  await api('POST', 'auth/approle/role/writ', { token_policies: ['writ-broker', 'writ-wrapped'], ...settings })
  const files = { roleIdFile: join(dir, 'role-id'), secretIdFile: join(dir, 'secret-id') }
  await writeFile(files.roleIdFile, text((await api('GET', 'auth/approle/role/writ/role-id')).body, 'data', 'role_id'))
  const secret = await api('POST', 'auth/approle/role/writ/secret-id', {})
  await writeFile(files.secretIdFile, text(secret.body, 'data', 'secret_id'))
  return files
}
