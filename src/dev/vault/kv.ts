import type { Clock } from '../../base/clock.ts'
import type { Backend } from './backend.ts'
import type { Leases } from './leases.ts'

export function createKv(_deps: { clock: Clock; leases?: Leases; mountPath?: string }): Backend {
  return { routes: [] }
}
