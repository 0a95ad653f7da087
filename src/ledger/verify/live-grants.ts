import type { LiveGrant } from './verify-state-schema.ts'

/** The grants that are live at some point of the record. */
export interface LiveGrants {
  readonly size: number
  get(id: string): LiveGrant | undefined
  set(id: string, grant: LiveGrant): void
  delete(id: string): void
  clear(): void
  all(): [id: string, grant: LiveGrant][]
}

const states = ['minting', 'active', 'ending'] as const

/**
 * Keeps grants as rows of numbers. Objects would live just long enough to be kept by the garbage collector until it looks at
 * everything: measured over a million entries, that is three times the memory.
 */
export function createLiveGrants(from: readonly (readonly [string, LiveGrant])[] = []): LiveGrants {
  const rows = new Map<string, number>()
  const free: number[] = []
  // State, time of issuance, and the two ceilings; not a number where there is none.
  let columns = new Float64Array(1024 * 4)

  const numberIn = (row: number, column: number): number => columns[row * 4 + column] ?? Number.NaN

  function grantIn(row: number): LiveGrant {
    const state = states[numberIn(row, 0)] ?? 'ending'
    const [issuedMs, ownSeconds, lifeSeconds] = [numberIn(row, 1), numberIn(row, 2), numberIn(row, 3)]
    return {
      state,
      ...(!Number.isNaN(issuedMs) && { issuedMs }),
      ...(!Number.isNaN(ownSeconds) && { ownSeconds }),
      ...(!Number.isNaN(lifeSeconds) && { lifeSeconds }),
    }
  }

  const grants: LiveGrants = {
    get size() {
      return rows.size
    },
    get(id) {
      const row = rows.get(id)
      return row === undefined ? undefined : grantIn(row)
    },
    set(id, { state, issuedMs = Number.NaN, ownSeconds = Number.NaN, lifeSeconds = Number.NaN }) {
      const row = rows.get(id) ?? free.pop() ?? rows.size
      rows.set(id, row)
      if (row * 4 >= columns.length) {
        const grown = new Float64Array(columns.length * 2)
        grown.set(columns)
        columns = grown
      }
      columns.set([states.indexOf(state), issuedMs, ownSeconds, lifeSeconds], row * 4)
    },
    delete(id) {
      const row = rows.get(id)
      if (row === undefined) return
      rows.delete(id)
      free.push(row)
    },
    clear() {
      rows.clear()
      free.length = 0
    },
    all: () => [...rows].map(([id, row]) => [id, grantIn(row)]),
  }
  for (const [id, grant] of from) grants.set(id, grant)
  return grants
}
