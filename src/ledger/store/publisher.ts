import type { Clock, Timer } from '../../base/clock.ts'
import { signCheckpoint } from '../log/checkpoint.ts'
import type { SigningKey } from '../log/note.ts'
import { type TileId, tilePath } from '../log/tile.ts'
import type { CosignedHead } from '../witnesses/cosigned.ts'
import type { TileFiles } from './tile-files.ts'
import type { GrowingTiles } from './tiles.ts'

/**
 * Writes the tiles of what is durable, then signs the head of the tree, has it cosigned where there are witnesses, and puts it
 * on disk: at most once in each interval, and at the end.
 */
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
  /** Gets the note cosigned, where there are witnesses. What is not `enough` is not published, and asked for again. */
  readonly cosign?: (head: { readonly note: string; readonly size: number }) => Promise<CosignedHead>
  /** Makes a note durable that witnesses are about to see. */
  readonly keep: (note: string) => Promise<void>
  /** Publishes a note; must resolve only when it is durable. */
  readonly write: (note: string) => Promise<void>
  /** Called after each note with the entries it covers. */
  readonly onPublished: (size: number) => void
  readonly onError: (cause: unknown) => void
}): Publisher {
  const { clock, intervalMs, tiles, files, signers, cosign, keep, write, onPublished, onError } = options
  let { newest } = options
  /** Partial tiles of the newest note, and of the last one that was signed. */
  let shown = options.partial
  let signedPartial = options.partial
  /** The last note that too few witnesses cosigned. */
  let uncosigned: { readonly note: string; readonly size: number } | undefined
  let lastAtMs = Number.NEGATIVE_INFINITY
  let timer: Timer | undefined
  let writing: Promise<void> | undefined
  let stopped = false
  let finishing = false
  const waiting = new Set<() => void>()

  function schedule(): void {
    if (stopped || finishing || timer !== undefined || writing !== undefined || tiles.size === newest.size) return
    // Witnesses that did not answer are not asked ten times a second.
    const pauseMs = uncosigned === undefined ? intervalMs : Math.max(intervalMs, witnessPauseMs)
    timer = clock.after(Math.max(0, lastAtMs + pauseMs - clock.now()), () => {
      timer = undefined
      writing = publish().finally(() => {
        writing = undefined
        schedule()
      })
    })
  }

  async function publish(): Promise<void> {
    lastAtMs = clock.now()
    try {
      const { note, size } = await signed()
      const { note: cosigned, enough } = cosign === undefined ? { note, enough: true } : await cosign({ note, size })
      uncosigned = enough ? undefined : { note: cosigned, size }
      if (!enough) return
      await write(cosigned)
      newest = { note: cosigned, size }
      for (const wake of waiting) wake()
      await files.remove(without(shown, signedPartial))
      shown = signedPartial
      onPublished(size)
    } catch (cause) {
      stopped = true
      onError(cause)
    }
  }

  /** The head of the tree, signed, with its tiles on disk; as cosigned so far when it is the one of the last attempt. */
  async function signed(): Promise<{ readonly note: string; readonly size: number }> {
    // All of one moment: the tree may grow while the files are written.
    const { size } = tiles
    if (uncosigned?.size === size) return uncosigned
    const root = tiles.root()
    const full = tiles.takeFull()
    const growing = tiles.partial()
    // Of the upper levels most are there already; written again, a reader might catch them half empty.
    const present = new Set([...shown, ...signedPartial].map(tilePath))
    await files.write([...full, ...growing.filter(({ id }) => !present.has(tilePath(id)))])
    tiles.written(full)
    const superseded = without(signedPartial, shown)
    signedPartial = growing.map(({ id }) => id)
    await files.remove(without(superseded, signedPartial))
    const keys = signers()
    const note = signCheckpoint({ origin: keys[0].name, size, root }, ...keys)
    if (cosign !== undefined) await keep(note)
    return { note, size }
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

const witnessPauseMs = 1000

const without = (tiles: readonly TileId[], others: readonly TileId[]): readonly TileId[] =>
  tiles.filter((tile) => !others.some((other) => tilePath(other) === tilePath(tile)))
