/** Runs what is done about the same thing one after the other; about different things, side by side. */
export function createTurns<Key>(): <T>(key: Key, act: () => Promise<T>) => Promise<T> {
  const turns = new Map<Key, Promise<unknown>>()
  return (key, act) => {
    const before = turns.get(key)
    const mine = before === undefined ? act() : before.then(act)
    const done = (): void => {
      if (turns.get(key) === over) turns.delete(key)
    }
    const over: Promise<void> = mine.then(done, done)
    turns.set(key, over)
    return mine
  }
}
