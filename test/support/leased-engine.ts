import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Engine, LeaseHandle, Minted } from '../../src/engines/engine.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createVaultSession } from '../../src/engines/vault-session.ts'
import { targetOf } from './credential-order.ts'
import type { VaultApi } from './vault-api.ts'
import { text } from './vault-setup.ts'

/**
 * The engine of a Credential document against a Vault, over a session whose token may do what that engine says it needs and
 * nothing else.
 * @param root calls with a token that may do anything
 */
export async function engineUnderNeeds(
  address: string,
  root: VaultApi,
  documents: readonly Readonly<Record<string, unknown>>[],
): Promise<{ engine: Engine; close(): Promise<void> }> {
  const targets = documents.map(targetOf)
  const kind = targets[0]?.engine ?? ''
  const bare = createVaultSession({
    address,
    auth: { method: 'token', token: new Secret('none') },
    clock: systemClock,
    log: silentLog,
  })
  const needs = targets.flatMap((target) => createEngines(bare, systemClock).get(kind)?.needs(target, 'wrapped') ?? [])
  await bare.close()
  const byPath = Map.groupBy(needs, ({ path }) => path)
  const line = (path: string, capabilities: readonly string[]): string =>
    `path "${path}" { capabilities = ${JSON.stringify(capabilities)} }`
  const policy = [...byPath].map(([path, list]) => line(path, [...new Set(list.map(({ capability }) => capability))]))
  const own = [line('auth/token/lookup-self', ['read']), line('auth/token/renew-self', ['update'])]
  await root('POST', 'sys/policies/acl/writ-broker', { policy: [...policy, ...own].join('\n') })
  const mints = targets.map(({ mount, role }) => line(`${mount}/${role}`, ['read', 'update']))
  await root('POST', 'sys/policies/acl/writ-wrapped', { policy: mints.join('\n') })
  const made = await root('POST', 'auth/token/create', { policies: ['writ-broker', 'writ-wrapped'], period: '1h' })
  const session = createVaultSession({
    address,
    auth: { method: 'token', token: new Secret(text(made.body, 'auth', 'client_token')) },
    clock: systemClock,
    log: silentLog,
  })
  const engine = createEngines(session, systemClock).get(kind)
  if (engine === undefined) throw new Error(`no engine ${kind}`)
  return { engine, close: session.close }
}

/** A field of a secret that must be a text. */
export function field(minted: Minted, name: string): string {
  const value = minted.secret.reveal()[name]
  if (typeof value !== 'string') throw new Error(`the secret has no field ${name}`)
  return value
}

/** The handle of a secret that must have one. */
export function handleOf(minted: Minted): LeaseHandle {
  if (minted.handle === undefined) throw new Error('the secret has no handle')
  return minted.handle.reveal()
}
