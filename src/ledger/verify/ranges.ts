/** Entries `from` up to, not including, `to`. */
export type Range = readonly [from: number, to: number]

/** Entries of the log, by ranges. */
export interface Ranges {
  /** False when there are more ranges than are kept: a hostile log can have as many as it has entries. */
  add(range: Range): boolean
  /** As they were added, but that those which follow on one another are one. */
  readonly all: readonly Range[]
}

/** Ranges that are kept. */
export const mostRanges = 10_000

export function createRanges(from: readonly Range[] = []): Ranges {
  const all: Range[] = [...from]
  return {
    all,
    add([from, to]) {
      const last = all.at(-1)
      if (last?.[1] === from) all[all.length - 1] = [last[0], to]
      else if (all.length < mostRanges) all.push([from, to])
      else return false
      return true
    },
  }
}

/** The parts of a range that others cover, and those that they leave, each in order. */
export function partsOf(
  [from, to]: Range,
  others: readonly Range[],
): { readonly inside: readonly Range[]; readonly outside: readonly Range[] } {
  const inside: Range[] = []
  const outside: Range[] = []
  let at = from
  for (const [start, end] of others.toSorted(([a], [b]) => a - b)) {
    if (end <= at || start >= to) continue
    if (start > at) outside.push([at, start])
    inside.push([Math.max(at, start), Math.min(end, to)])
    at = Math.min(end, to)
  }
  if (at < to) outside.push([at, to])
  return { inside, outside }
}
