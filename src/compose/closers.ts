/** What is open, in the order in which it was opened. */
export interface Closers {
  push(close: () => Promise<void> | void): void
  closeAll(): Promise<void>
}

/** Closes what was opened, last first; one failure does not keep the rest open. */
export function createClosers(): Closers {
  const closers: (() => Promise<void> | void)[] = []
  let closing: Promise<void> | undefined
  return {
    push: (close) => void closers.push(close),
    closeAll() {
      closing ??= (async () => {
        for (const close of closers.toReversed()) await Promise.resolve(close()).catch(() => {})
      })()
      return closing
    },
  }
}
