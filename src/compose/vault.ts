import { readFile } from 'node:fs/promises'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Secret } from '../base/secret.ts'
import type { Config } from '../config/config.ts'
import type { VaultAuthMethod } from '../engines/login.ts'
import { createVaultSession, type VaultSession, type VaultSessionOptions } from '../engines/vault-session.ts'

/**
 * The session the configuration names, not started yet. `writ doctor` looks through one of its own, without what ties a
 * session to the broker: the tokens it keeps and the grants that hang on them.
 */
export async function openVault(
  { vault }: Config,
  clock: Clock,
  log: Log,
  ties: Pick<VaultSessionOptions, 'store' | 'hanging' | 'onLost'> = {},
): Promise<VaultSession> {
  return createVaultSession({
    address: vault.address,
    ...(vault.namespace === undefined ? {} : { namespace: vault.namespace }),
    ...(vault.caFile === undefined ? {} : { caCertPem: await readFile(vault.caFile, 'utf8') }),
    auth: await vaultAuthOf(vault.auth),
    deadlineMs: vault.timeoutMs,
    clock,
    log,
    ...ties,
  })
}

/** How far what Vault says can be relied on, and since when its token is the one in use. */
export function vaultsWord(session: Pick<VaultSession, 'health' | 'read'>) {
  return {
    async authoritative(): Promise<boolean> {
      const { reachable, sealed, standby } = await session.health()
      return reachable && !sealed && !standby
    },
    async tokenSinceMs(): Promise<number | undefined> {
      const { data } = await session.read('auth/token/lookup-self')
      return typeof data?.creation_time === 'number' ? data.creation_time * 1000 : undefined
    },
  }
}

async function vaultAuthOf(auth: Config['vault']['auth']): Promise<VaultAuthMethod> {
  const text = async (path: string): Promise<string> => (await readFile(path, 'utf8')).trim()
  const secret = async (path: string): Promise<Secret<string>> => new Secret(await text(path))
  switch (auth.method) {
    case 'token': {
      if ('token' in auth) return { method: 'token', token: auth.token }
      const reread = () => secret(auth.tokenFile)
      return { method: 'token', token: await reread(), reread }
    }
    case 'approle': {
      const { roleIdFile, secretIdFile, mount } = auth
      const ids = async () => ({ roleId: await text(roleIdFile), secretId: await secret(secretIdFile) })
      return { method: 'approle', ids, mount }
    }
    case 'kubernetes':
    case 'jwt': {
      const { method, role, mount, tokenFile } = auth
      return { method, role, mount, jwt: () => secret(tokenFile) }
    }
  }
}
