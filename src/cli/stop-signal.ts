import type { Io } from './command.ts'

/** Listens for a signal to stop, so that a command can take back what it has half done. */
export interface StopSignal {
  /** The first that came. */
  received(): NodeJS.Signals | undefined
  /** @throws Error once one came */
  throwIfReceived(): void
  release(): void
}

export function stopSignal(io: Io): StopSignal {
  let received: NodeJS.Signals | undefined
  const release = io.onSignal(['SIGINT', 'SIGTERM'], (signal) => {
    received ??= signal
  })
  return {
    received: () => received,
    throwIfReceived() {
      if (received !== undefined) throw new Error(`stopped by ${received}`)
    },
    release,
  }
}
