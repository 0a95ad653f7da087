/** Whole numbers (such as milliseconds), counted so that any number of them takes bounded memory. */
export interface Tally {
  add(value: number): void
  readonly count: number
  readonly max: number
  /** The least value that so large a share does not exceed, rounded up by less than 1 %; 0 when nothing was counted. */
  quantile(share: number): number
}

/** Below 1,000 every value is kept, above it three digits of each. */
export function createTally(): Tally {
  const counts = new Map<number, number>()
  let count = 0
  let max = 0
  return {
    add(value) {
      const kept = roundedUp(value)
      counts.set(kept, (counts.get(kept) ?? 0) + 1)
      count++
      max = Math.max(max, value)
    },
    get count() {
      return count
    },
    get max() {
      return max
    },
    quantile(share) {
      let below = 0
      for (const [value, times] of [...counts].sort(([a], [b]) => a - b)) {
        below += times
        if (below >= share * count) return Math.min(value, max)
      }
      return 0
    },
  }
}

function roundedUp(value: number): number {
  if (value < 1_000) return value
  const unit = 10 ** (Math.floor(Math.log10(value)) - 2)
  return Math.ceil(value / unit) * unit
}
