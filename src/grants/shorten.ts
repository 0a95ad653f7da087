import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { timeText } from '../contract/fields.ts'
import type { Engine, LeaseHandle } from '../engines/engine.ts'
import { about } from './end.ts'
import type { Grant } from './grant.ts'
import type { Provenance } from './provenance.ts'
import type { Registry } from './registry.ts'

interface Deps {
  readonly registry: Registry
  readonly engine: (kind: string) => Engine
  readonly openLease: (sealed: string) => Promise<LeaseHandle>
  readonly clock: Clock
  readonly log: Log
}

/**
 * Brings the end of an active grant forward. From the entry on, the sweep ends it then, whatever its engine. Where there is a lease Vault
 * is told as well (a renewal with a smaller increment cuts it), so that the secret dies in time even if the broker is gone; a Vault that
 * will not cut it is no fault.
 * @throws BrokerFault `state_conflict` when it is not active any more
 */
export async function shorten(
  { registry, engine, openLease, clock, log }: Deps,
  grant: Grant,
  { endsAtMs, reason, by }: { readonly endsAtMs: number; readonly reason: string; readonly by: Provenance },
): Promise<Grant> {
  const { grant: shortened } = await registry.record(grant, {
    ...about(grant),
    ...by,
    kind: 'grant.shortened',
    expires: timeText(endsAtMs),
    reason,
  })
  if (grant.lease === undefined) return shortened
  try {
    const handle = await openLease(grant.lease.sealed)
    const seconds = Math.max(1, Math.floor((endsAtMs - clock.now()) / 1000))
    if (handle.type === 'lease') await engine(grant.target.engine).renew(handle, seconds)
  } catch (error) {
    log.warn({ grant: grant.id, error: messageOf(error) }, 'lease_not_cut')
  }
  return shortened
}
