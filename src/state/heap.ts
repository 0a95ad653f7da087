/** A binary min-heap of identifiers by time; the caller recognises and drops entries that no longer hold. */
export interface TimeHeap {
  push(atMs: number, id: string): void
  peek(): { readonly atMs: number; readonly id: string } | undefined
  pop(): { readonly atMs: number; readonly id: string } | undefined
}

export function timeHeap(): TimeHeap {
  // Two lists and not one of pairs: the times then stand side by side as plain numbers.
  const times: number[] = []
  const ids: string[] = []
  const before = (a: number, b: number): boolean => (times[a] ?? Infinity) < (times[b] ?? Infinity)
  const exchange = (a: number, b: number): void => {
    const [timeA, timeB, idA, idB] = [times[a], times[b], ids[a], ids[b]]
    if (timeA === undefined || timeB === undefined || idA === undefined || idB === undefined) return
    times[a] = timeB
    times[b] = timeA
    ids[a] = idB
    ids[b] = idA
  }
  const peek = (): { readonly atMs: number; readonly id: string } | undefined => {
    const [atMs, id] = [times[0], ids[0]]
    return atMs === undefined || id === undefined ? undefined : { atMs, id }
  }
  return {
    push(atMs, id) {
      let at = times.push(atMs) - 1
      ids.push(id)
      for (let up = (at - 1) >> 1; at > 0 && before(at, up); at = up, up = (at - 1) >> 1) exchange(at, up)
    },
    peek,
    pop() {
      const top = peek()
      exchange(0, times.length - 1)
      times.pop()
      ids.pop()
      for (let at = 0; ; ) {
        const left = 2 * at + 1
        const least = before(left + 1, left) ? left + 1 : left
        if (!before(least, at)) break
        exchange(least, at)
        at = least
      }
      return top
    },
  }
}
