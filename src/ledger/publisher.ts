import type { Clock, Timer } from '../base/clock.ts'
import { signCheckpoint } from './checkpoint.ts'
import type { RunningTree } from './merkle.ts'
import type { SigningKey } from './note.ts'

/** Signs the head of the tree and puts it on disk, at most once in each interval and once more at the end. */
export interface Publisher {
  /** Says that the tree has grown. */
  schedule(): void
  /** Signs nothing more. */
  stop(): void
  /** Waits for what is being written and, unless stopped, signs what no checkpoint covers yet. */
  finish(): Promise<void>
  /** The newest note that is on disk. */
  note(): string
}

export function createPublisher(options: {
  readonly clock: Clock
  readonly intervalMs: number
  readonly tree: RunningTree
  readonly key: SigningKey
  /** Size the note on disk is for. */
  readonly signedSize: number
  readonly note: string
  /** Must resolve only when the note is durable. */
  readonly write: (note: string) => Promise<void>
  readonly onError: (cause: unknown) => void
}): Publisher {
  const { clock, intervalMs, tree, key, write, onError } = options
  let { signedSize, note } = options
  let lastAtMs = Number.NEGATIVE_INFINITY
  let timer: Timer | undefined
  let writing: Promise<void> | undefined
  let stopped = false
  let finishing = false

  function schedule(): void {
    if (stopped || finishing || timer !== undefined || writing !== undefined || tree.size === signedSize) return
    timer = clock.after(Math.max(0, lastAtMs + intervalMs - clock.now()), () => {
      timer = undefined
      writing = publish().finally(() => {
        writing = undefined
        schedule()
      })
    })
  }

  async function publish(): Promise<void> {
    lastAtMs = clock.now()
    const { size } = tree
    try {
      const signed = signCheckpoint({ origin: key.name, size, root: tree.root() }, key)
      await write(signed)
      signedSize = size
      note = signed
    } catch (cause) {
      stopped = true
      onError(cause)
    }
  }

  return {
    schedule,
    stop() {
      stopped = true
      timer?.cancel()
    },
    async finish() {
      finishing = true
      timer?.cancel()
      await writing
      if (!stopped && tree.size !== signedSize) await publish()
      stopped = true
    },
    note: () => note,
  }
}
