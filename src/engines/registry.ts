import type { Clock } from '../base/clock.ts'
import { createDatabaseEngine } from './database.ts'
import type { Engine } from './engine.ts'
import { createKvEngine } from './kv.ts'
import { createLeases } from './leases.ts'
import { createPkiEngine } from './pki.ts'
import { createSshEngine } from './ssh.ts'
import type { VaultSession } from './vault-session.ts'
import { createMintWrapped, defaultWrapPolicy } from './wrapped.ts'

/** The engines the broker can mint with, by the name Credential documents use. */
export interface Engines {
  get(kind: string): Engine | undefined
  readonly kinds: readonly string[]
}

/** Every engine over one session. A new kind is one file and one line here. */
export function createEngines(
  session: VaultSession,
  clock: Clock,
  options: { readonly wrapPolicy?: string } = {},
): Engines {
  const leases = createLeases(session, clock)
  const mintWrapped = createMintWrapped(session, clock, options.wrapPolicy ?? defaultWrapPolicy)
  const deps = { session, leases, mintWrapped, clock }
  const engines = [createDatabaseEngine(deps), createPkiEngine(deps), createSshEngine(deps), createKvEngine(deps)]
  const byKind = new Map(engines.map((engine) => [engine.kind, engine]))
  return { get: (kind) => byKind.get(kind), kinds: [...byKind.keys()] }
}
