import type { Clock } from '../base/clock.ts'
import type { Leases } from './leases.ts'
import type { VaultSession } from './vault-session.ts'
import type { MintWrapped } from './wrapped.ts'

/** What every engine is made of. */
export interface EngineDeps {
  readonly session: VaultSession
  readonly leases: Leases
  readonly mintWrapped: MintWrapped
  readonly clock: Clock
}
