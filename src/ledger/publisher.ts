import type { Clock, Timer } from '../base/clock.ts'
import { signCheckpoint } from './checkpoint.ts'
import type { SigningKey } from './note.ts'
import type { TileId } from './tile.ts'
import type { TileFiles } from './tile-files.ts'
import type { GrowingTiles } from './tiles.ts'

/** Writes the tiles of what is durable, then signs the head of the tree and puts it on disk: at most once in each interval, and at the end. */
export interface Publisher {
  /** Says that the tree has grown. */
  schedule(): void
  /** Signs nothing more. */
  stop(): void
  /** Waits for what is being written and, unless stopped, signs what no checkpoint covers yet. */
  finish(): Promise<void>
  /** The newest note that is on disk, and the entries it covers. */
  newest(): { readonly note: string; readonly size: number }
  /** Resolves with true once the newest note covers the entry, with false when that takes longer than `withinMs`. */
  covered(index: number, withinMs: number): Promise<boolean>
}

export function createPublisher(options: {
  readonly clock: Clock
  readonly intervalMs: number
  readonly tiles: GrowingTiles
  readonly files: TileFiles
  /** Keys that sign now; more than one while the log changes keys. */
  readonly signers: () => readonly [SigningKey, ...SigningKey[]]
  /** The note on disk and the entries it covers. */
  readonly newest: { readonly note: string; readonly size: number }
  /** Partial tiles that are on disk. */
  readonly partial: readonly TileId[]
  /** Must resolve only when the note is durable. */
  readonly write: (note: string) => Promise<void>
  /** Called after each note with the entries it covers. */
  readonly onPublished: (size: number) => void
  readonly onError: (cause: unknown) => void
}): Publisher {
  const { clock, intervalMs, tiles, files, signers, write, onPublished, onError } = options
  let { newest, partial } = options
  let lastAtMs = Number.NEGATIVE_INFINITY
  let timer: Timer | undefined
  let writing: Promise<void> | undefined
  let stopped = false
  let finishing = false
  const waiting = new Set<() => void>()

  function schedule(): void {
    if (stopped || finishing || timer !== undefined || writing !== undefined || tiles.size === newest.size) return
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
    // All of one moment: the tree may grow while the files are written.
    const { size } = tiles
    const root = tiles.root()
    const full = tiles.takeFull()
    const growing = tiles.partial()
    try {
      await files.write([...full, ...growing])
      tiles.written(full)
      const keys = signers()
      const note = signCheckpoint({ origin: keys[0].name, size, root }, ...keys)
      await write(note)
      newest = { note, size }
      const stale = partial.filter((old) => !growing.some(({ id }) => sameTile(id, old)))
      partial = growing.map(({ id }) => id)
      for (const wake of waiting) wake()
      await files.remove(stale)
      onPublished(size)
    } catch (cause) {
      stopped = true
      onError(cause)
    }
  }

  function covered(index: number, withinMs: number): Promise<boolean> {
    if (index < newest.size) return Promise.resolve(true)
    return new Promise((resolve) => {
      const settle = (is: boolean): void => {
        waiting.delete(look)
        limit.cancel()
        resolve(is)
      }
      const look = (): void => {
        if (index < newest.size) settle(true)
      }
      const limit = clock.after(withinMs, () => settle(false))
      waiting.add(look)
    })
  }

  return {
    schedule,
    covered,
    stop() {
      stopped = true
      timer?.cancel()
    },
    async finish() {
      finishing = true
      timer?.cancel()
      await writing
      if (!stopped && tiles.size !== newest.size) await publish()
      stopped = true
    },
    newest: () => newest,
  }
}

const sameTile = (one: TileId, other: TileId): boolean =>
  one.level === other.level && one.n === other.n && one.width === other.width
