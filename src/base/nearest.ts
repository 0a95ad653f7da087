/** The known name closest to what was typed, when one is close enough to be a slip of the finger. */
export function nearest(typed: string, known: readonly string[]): string | undefined {
  let best: { name: string; distance: number } | undefined
  for (const name of known) {
    const distance = name.startsWith(typed) && typed.length > 1 ? 1 : editDistance(typed, name)
    if (
      distance <= Math.max(1, Math.floor(name.length / 3)) &&
      distance < (best?.distance ?? Number.POSITIVE_INFINITY)
    ) {
      best = { name, distance }
    }
  }
  return best?.name
}

/** Levenshtein distance over one row; inputs are option names, so a few dozen characters at most. */
function editDistance(from: string, to: string): number {
  if (from.length > 64) return from.length
  let row = Array.from({ length: to.length + 1 }, (_, at) => at)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const substituted = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substituted))
    }
    row = next
  }
  return row[to.length] ?? from.length
}
