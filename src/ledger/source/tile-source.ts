import { parseCheckpoint } from '../log/checkpoint.ts'
import { splitNote } from '../log/note.ts'
import { BundleError, hashBytes, maxBundleBytes, parseBundle, type TileId, tileWidth } from '../log/tile.ts'

/** The file of a tile, or of a wider one in the same place. */
export interface FoundTile {
  /** Where it was found, as `tilePath` writes it. */
  readonly path: string
  /** Hashes or entries it should hold; at least as many as were asked for. */
  readonly width: number
  /**
   * As found: neither length nor content is checked. What is longer than `maxTileBytes` is cut one byte after that, so that it is seen
   * to be too long: such a tile is wrong, while the log can be read.
   */
  readonly bytes: Buffer
}

/**
 * Where the files of a log come from: a folder or a URL. Nothing it gives can be trusted, but its size and the time it takes are
 * bounded. A partial tile may be gone by the time it is asked for, because the log has grown; then the full one or a wider partial
 * one is given in its place.
 */
export interface TileSource {
  /** Tiles worth asking for at once. Where that is 1, the bytes of an entry bundle are valid until the next. */
  readonly atOnce: number
  /** The file `checkpoint`; `undefined` when there is none. @throws SourceError */
  checkpoint(): Promise<Buffer | undefined>
  /** The file `manifest`, which a redacted copy has in place of a checkpoint. @throws SourceError */
  manifest?(): Promise<Buffer | undefined>
  /** The tile; `undefined` when there is none. @throws SourceError */
  tile(id: TileId): Promise<FoundTile | undefined>
  close(): Promise<void>
}

/** A log that cannot be read, so that nothing can be said about it. The message quotes nothing of what was read. */
export class SourceError extends Error {
  /** `unavailable` may be gone the next time; `not_for_everybody` wants a token, or another one. */
  readonly reason: 'unavailable' | 'not_for_everybody' | undefined

  constructor(message: string, options: { cause?: unknown; reason?: SourceError['reason'] } = {}) {
    super(message, options)
    this.name = 'SourceError'
    this.reason = options.reason
  }
}

/** Greatest size of a checkpoint: that of a note. */
export const maxCheckpointBytes: number = 512 * 1024

/** Greatest size of the file of a tile. */
export const maxTileBytes = ({ level }: TileId): number =>
  level === 'entries' ? maxBundleBytes : tileWidth * hashBytes

/** The entries of a bundle, or none when it is damaged or half written. */
export function wholeEntries({ bytes, width }: FoundTile): readonly Buffer[] {
  try {
    return parseBundle(bytes, width)
  } catch (error) {
    if (error instanceof BundleError) return []
    throw error
  }
}

/** Entries that a checkpoint claims to cover, 0 when it is none. Nobody has verified it: it is a hint where to look. */
export function claimedSize(note: Buffer | undefined): number {
  try {
    return note === undefined ? 0 : parseCheckpoint(splitNote(note).text).size
  } catch {
    return 0
  }
}
