import type { Clock } from '../base/clock.ts'
import { BrokerFault } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Engine } from '../engines/engine.ts'
import { createEngines } from '../engines/registry.ts'
import { createTokenKeySet, type TokenKeySet } from '../engines/token-key-set.ts'
import { createTransitKeys } from '../engines/transit-keys.ts'
import type { VaultSession } from '../engines/vault-session.ts'
import type { CompiledCredential } from '../policy/compile.ts'

/** The engines over one session, and the public keys of the tokens that one of them signs. */
export function openEngines(deps: {
  readonly session: VaultSession
  /** Public URL of the broker. */
  readonly issuer: string
  readonly credentials: () => readonly CompiledCredential[]
  readonly clock: Clock
  readonly log: Log
}): { readonly engine: (kind: string) => Engine; readonly tokenKeys: TokenKeySet } {
  const { session, issuer, credentials, clock, log } = deps
  const transitKeys = createTransitKeys(session, clock)
  const engines = createEngines(session, clock, { issuer, transitKeys })
  const targets = () => credentials().map(({ target }) => target)
  return {
    engine(kind) {
      const engine = engines.get(kind)
      if (engine === undefined) throw new BrokerFault('internal', `this version has no engine ${kind}`)
      return engine
    },
    tokenKeys: createTokenKeySet({ keys: transitKeys, targets, clock, log }),
  }
}
