/**
 * Runs `act` on each item, at most `atOnce` at a time, each begun as soon as a place is free, until there are none left or `stopped`.
 * Rejects as the first `act` does; what had begun then goes on.
 */
export async function inParallel<T>(
  items: Iterable<T>,
  atOnce: number,
  act: (item: T) => Promise<void>,
  stopped: () => boolean = () => false,
): Promise<void> {
  const waiting = items[Symbol.iterator]()
  async function work(): Promise<void> {
    while (!stopped()) {
      const next = waiting.next()
      if (next.done === true) return
      await act(next.value)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
}
