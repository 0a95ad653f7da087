import type { JWK } from 'jose'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { MintTarget } from './engine.ts'
import type { TransitKeys } from './transit-keys.ts'

/** Public keys of the access tokens that the broker has signed, for whoever verifies them (RFC 7517 section 5). */
export interface TokenKeySet {
  /**
   * Every version of every key that a Credential in force signs with, at most five seconds old. A key that Vault cannot say is served as it
   * was last known. @throws BrokerFault when a key was never read
   */
  current(): Promise<{ readonly keys: readonly JWK[] }>
}

/** Anybody may ask, and each key is asked of Vault once in this time. */
const maxAgeMs = 5_000

export function createTokenKeySet(deps: {
  readonly keys: TransitKeys
  readonly targets: () => readonly MintTarget[]
  readonly clock: Clock
  readonly log: Log
}): TokenKeySet {
  const { keys, targets, clock, log } = deps
  const last = new Map<string, { readonly atMs: number; readonly jwks: readonly JWK[] }>()

  async function jwksOf(mount: string, role: string): Promise<readonly JWK[]> {
    const id = `${mount}/${role}`
    const known = last.get(id)
    if (known !== undefined && clock.now() - known.atMs < maxAgeMs) return known.jwks
    try {
      const { alg, versions } = await keys.get(mount, role, maxAgeMs)
      const jwks = versions.map(({ kid, key }) => ({ ...key.export({ format: 'jwk' }), kid, alg, use: 'sig' }))
      last.set(id, { atMs: clock.now(), jwks })
      return jwks
    } catch (thrown) {
      if (known === undefined) throw thrown
      log.warn({ key: id, problem: messageOf(thrown) }, 'token_keys.stale')
      // Also what failed is not asked for again at once.
      last.set(id, { ...known, atMs: clock.now() })
      return known.jwks
    }
  }

  return {
    async current() {
      const signing = new Map(
        targets()
          .filter(({ engine }) => engine === 'transit')
          .map((target) => [`${target.mount}/${target.role}`, target]),
      )
      for (const id of last.keys()) if (!signing.has(id)) last.delete(id)
      const sets = await Promise.all([...signing.values()].map(({ mount, role }) => jwksOf(mount, role)))
      return { keys: sets.flat() }
    },
  }
}
