import { readFile } from 'node:fs/promises'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { Secret } from '../base/secret.ts'
import type { Config } from '../config/config.ts'
import type { VaultAuthMethod } from '../engines/login.ts'
import { createVaultSession, type VaultSession } from '../engines/vault-session.ts'

/** The session the configuration names, not started yet; `writ doctor` looks through the same one. */
export async function openVault({ vault }: Config, clock: Clock, log: Log): Promise<VaultSession> {
  return createVaultSession({
    address: vault.address,
    ...(vault.namespace === undefined ? {} : { namespace: vault.namespace }),
    ...(vault.caFile === undefined ? {} : { caCertPem: await readFile(vault.caFile, 'utf8') }),
    auth: await vaultAuthOf(vault.auth),
    deadlineMs: vault.timeoutMs,
    clock,
    log,
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
  if (auth.method === 'token') {
    return { method: 'token', token: 'token' in auth ? auth.token : new Secret(await text(auth.tokenFile)) }
  }
  const { roleIdFile, secretIdFile, mount } = auth
  const ids = async () => ({ roleId: await text(roleIdFile), secretId: new Secret(await text(secretIdFile)) })
  return { method: 'approle', ids, mount }
}
