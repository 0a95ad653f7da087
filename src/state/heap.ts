/** A binary min-heap of identifiers by time; the caller recognises and drops entries that no longer hold. */
export interface TimeHeap {
  push(atMs: number, id: string): void
  peek(): { readonly atMs: number; readonly id: string } | undefined
  pop(): { readonly atMs: number; readonly id: string } | undefined
}

export function timeHeap(): TimeHeap {
  const items: { atMs: number; id: string }[] = []
  const before = (a: number, b: number): boolean => (items[a]?.atMs ?? Infinity) < (items[b]?.atMs ?? Infinity)
  const exchange = (a: number, b: number): void => {
    const [x, y] = [items[a], items[b]]
    if (x === undefined || y === undefined) return
    items[a] = y
    items[b] = x
  }
  return {
    push(atMs, id) {
      let at = items.push({ atMs, id }) - 1
      for (let up = (at - 1) >> 1; at > 0 && before(at, up); at = up, up = (at - 1) >> 1) exchange(at, up)
    },
    peek: () => items[0],
    pop() {
      exchange(0, items.length - 1)
      const top = items.pop()
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
