import type { Clock } from '../base/clock.ts'
import { createDatabaseEngine } from './database.ts'
import type { Engine } from './engine.ts'
import { VaultFault } from './faults.ts'
import { createKvEngine } from './kv.ts'
import { createLeasedEngine, leasedKinds } from './leased.ts'
import { createLeases } from './leases.ts'
import { createPkiEngine } from './pki.ts'
import { createRabbitmqEngine } from './rabbitmq.ts'
import { createSshEngine } from './ssh.ts'
import { createTokenEngine } from './token.ts'
import { createTransitEngine } from './transit.ts'
import { createTransitKeys, type TransitKeys } from './transit-keys.ts'
import type { VaultSession } from './vault-session.ts'
import { createMintWrapped, defaultWrapPolicy } from './wrapped.ts'

/** The engines the broker can mint with, by the name Credential documents use. */
export interface Engines {
  get(kind: string): Engine | undefined
  readonly kinds: readonly string[]
}

export interface EngineOptions {
  readonly wrapPolicy?: string
  /** `iss` of the access tokens that are signed: the public URL of the broker. Without it none are. */
  readonly issuer?: string
  /** Shared with whoever serves their public halves. */
  readonly transitKeys?: TransitKeys
}

/** Every engine over one session. A new kind is one file and one line here. */
export function createEngines(session: VaultSession, clock: Clock, options: EngineOptions = {}): Engines {
  const leases = createLeases(session, clock)
  const mintWrapped = createMintWrapped(session, clock, options.wrapPolicy ?? defaultWrapPolicy)
  const deps = { session, leases, mintWrapped, clock }
  const { issuer, transitKeys: keys = createTransitKeys(session, clock) } = options
  const engines = [
    createDatabaseEngine(deps),
    createPkiEngine(deps),
    createSshEngine(deps),
    createKvEngine(deps),
    createRabbitmqEngine(deps),
    createTokenEngine(deps),
    ...leasedKinds.map((kind) => createLeasedEngine(deps, kind)),
    createTransitEngine({ ...deps, keys, issuer }),
  ].map((engine) => withinTokenLife(engine, session, clock))
  const byKind = new Map(engines.map((engine) => [engine.kind, engine]))
  return { get: (kind) => byKind.get(kind), kinds: [...byKind.keys()] }
}

/**
 * Vault ends a lease together with the token that made it, so no secret is made for longer than that token can be kept. What has
 * no lease does not end with the token.
 */
function withinTokenLife(engine: Engine, session: VaultSession, clock: Clock): Engine {
  return {
    ...engine,
    async mint(order) {
      if (!engine.revocable(order.target)) return engine.mint(order)
      const ttlSeconds = Math.min(order.ttlSeconds, Math.floor((session.leasesEndMs() - clock.now()) / 1000))
      if (ttlSeconds < 1) throw new VaultFault('not_logged_in', 'the Vault token of the broker is about to end')
      return engine.mint(ttlSeconds === order.ttlSeconds ? order : { ...order, ttlSeconds })
    },
  }
}
