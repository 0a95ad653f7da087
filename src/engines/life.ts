import { BrokerFault } from '../base/errors.ts'

// Two clocks are compared, the broker's and Vault's.
const clockLeewayMs = 300_000

/**
 * A secret that states its own end and lives longer than was decided is not handed out, because nothing may be able to end
 * it in time. Vault refuses a `ttl` it will not keep to; this is the check that it did.
 * @throws BrokerFault `engine_refused`
 */
export function refuseLongLife(path: string, expiresAtMs: number, startedMs: number, ttlSeconds: number): void {
  if (expiresAtMs <= startedMs + ttlSeconds * 1000 + clockLeewayMs) return
  throw new BrokerFault(
    'engine_refused',
    `POST ${path}: the secret outlives the ${ttlSeconds} s that were decided; compare the clocks of Vault and the broker`,
  )
}
