import type { TileId } from './tile.ts'

/**
 * The public face of a log: what a C2SP client may fetch. Whatever it gives is durable, covered by the checkpoint it names, and never
 * changes; partial tiles may be asked for in any width that the newest checkpoint covers.
 * @see https://c2sp.org/tlog-tiles
 */
export interface PublishedLog {
  /** Identity of the log: first line of its checkpoints. */
  readonly origin: string
  /** The key that signs checkpoints now, as an auditor holds it. */
  readonly vkey: string
  /** The newest checkpoint: a C2SP signed note. */
  checkpoint(): string
  /** Entries that checkpoint covers. */
  signedSize(): number
  /** Bytes of a tile or entry bundle; `undefined` where the newest checkpoint covers none of that width. */
  tile(id: TileId): Promise<Buffer | undefined>
  /** Resolves with true once a durable checkpoint covers the entry, with false when that takes longer than `withinMs`. */
  covered(index: number, withinMs: number): Promise<boolean>
}
