import { type FaultKind, VaultFault } from './faults.ts'
import type { VaultHealth, VaultNode } from './node.ts'

/** Faults after which another server may do what this one has certainly not done. */
const elsewhere: ReadonlySet<FaultKind> = new Set(['unreachable', 'standby', 'sealed'])

/**
 * The servers of one Vault cluster as one. All calls go to the same server until it cannot be reached, is sealed or cannot pass
 * calls on; then to the next in the list. A call that a server may have carried out goes to no other, but after one that was not
 * answered in time the next calls do: a server that is frozen takes connections and never says that it is gone.
 * @param nodes at least one, in the order in which they are tried
 */
export function asOne(nodes: readonly VaultNode[]): VaultNode {
  let preferred = 0
  const at = (place: number): VaultNode => nodes[place % nodes.length] as VaultNode

  return {
    async call(call) {
      for (let tries = 1; ; tries += 1) {
        const place = preferred
        try {
          return await at(place).call(call)
        } catch (thrown) {
          const kind = thrown instanceof VaultFault ? thrown.kind : undefined
          const movesOn = kind !== undefined && elsewhere.has(kind)
          if ((movesOn || kind === 'timeout') && preferred === place) preferred = (place + 1) % nodes.length
          if (!movesOn || tries >= nodes.length) throw thrown
        }
      }
    },
    /**
     * That of a server that leads, which calls go to from then on; else of one that is well; else of the one they go to now. A
     * standby does not do everything that a leader does.
     */
    async health() {
      const place = preferred
      const here = await at(place).health()
      let best = { place, health: here }
      for (let step = 1; step < nodes.length && rank(best.health) < rank(leading); step += 1) {
        const health = await at(place + step).health()
        if (rank(health) > rank(best.health)) best = { place: (place + step) % nodes.length, health }
      }
      preferred = best.place
      return best.health
    },
    async close() {
      await Promise.all(nodes.map((node) => node.close()))
    },
  }
}

const leading = { reachable: true, sealed: false, standby: false, version: 'any' }

const rank = ({ reachable, sealed, standby, version }: Omit<VaultHealth, 'kind' | 'clockSkewMs'>): number =>
  !reachable || sealed || version === '' ? 0 : standby ? 1 : 2
