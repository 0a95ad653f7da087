import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Engine, LeaseHandle, Minted } from '../../src/engines/engine.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createVaultSession, type VaultSession } from '../../src/engines/vault-session.ts'
import type { TestBao } from './bao.ts'
import { tokenFor } from './bao-engines.ts'
import { targetOf } from './credential-order.ts'
import type { VaultApi } from './vault-api.ts'

/**
 * The engine of some Credential documents against a Vault, over a session whose token may do what that engine says it needs and
 * nothing else.
 * @param root calls with a token that may do anything
 */
export async function engineUnderNeeds(
  bao: TestBao,
  root: VaultApi,
  documents: readonly Readonly<Record<string, unknown>>[],
): Promise<{ engine: Engine; close(): Promise<void> }> {
  const targets = documents.map(targetOf)
  const open = (token: string): { session: VaultSession; engine: Engine } => {
    const auth = { method: 'token', token: new Secret(token) } as const
    const session = createVaultSession({ address: bao.address, auth, clock: systemClock, log: silentLog })
    const engine = createEngines(session, systemClock).get(targets[0]?.engine ?? '')
    if (engine === undefined) throw new Error('no such engine')
    return { session, engine }
  }
  const { session, engine } = open(await tokenFor(root, open(bao.rootToken).engine, targets))
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
