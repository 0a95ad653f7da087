import { BrokerFault } from '../base/errors.ts'
import type { LeaseHandle } from './engine.ts'
import { VaultFault } from './faults.ts'
import type { Leases } from './leases.ts'

/** A lease as Vault has just made it. */
export interface FreshLease {
  readonly handle: LeaseHandle
  /** Method and path that made it, for messages. */
  readonly what: string
  readonly startedMs: number
  readonly seconds: number
  readonly renewable: boolean
}

/**
 * Brings a fresh lease to the life that was decided and gives its end (ms since the epoch). A longer one is cut at once
 * (`sys/leases/renew` with a smaller increment), so that Vault ends the secret in time even if the broker is gone; a shorter one
 * is extended as far as the role allows. A role whose `default_ttl` is the usual life saves that call.
 * @throws BrokerFault `engine_refused` for a lease that Vault does not cut, which nobody may hold; what the call to Vault threw
 */
export async function fitLease(leases: Leases, lease: FreshLease, ttlSeconds: number): Promise<number> {
  const { handle, what, startedMs, seconds, renewable } = lease
  const endsMs = startedMs + seconds * 1000
  if (seconds > ttlSeconds) {
    const cut = renewable ? await leases.renew(handle, ttlSeconds) : undefined
    if (cut !== undefined && cut.leaseSeconds <= ttlSeconds)
      return Math.min(cut.expiresAtMs, startedMs + ttlSeconds * 1000)
    throw new BrokerFault(
      'engine_refused',
      `${what}: the lease outlives the ${ttlSeconds} s that were decided and Vault does not cut it; lower the default ttl of the role`,
    )
  }
  if (seconds === ttlSeconds || !renewable) return endsMs
  try {
    return Math.min((await leases.renew(handle, ttlSeconds)).expiresAtMs, startedMs + ttlSeconds * 1000)
  } catch (thrown) {
    // A Vault that will not extend takes nothing away.
    if (thrown instanceof VaultFault) return endsMs
    throw thrown
  }
}
