import { join } from 'node:path'
import { type Checkpoint, parseCheckpoint } from '../log/checkpoint.ts'
import { NoteError, openNote, splitNote, type VerifierKey } from '../log/note.ts'
import { type LogPlace, openSource, type SourceOptions } from '../source/open.ts'
import { nodeDisk, readSmallFile } from '../store/disk.ts'
import { type LogEntry, openProvedLog } from './proved-log.ts'
import { type Manifest, manifestName, maxManifestBytes, openManifest, readManifest } from './redaction.ts'
import { unsignedEntries } from './unsigned.ts'

/** A log to export from. */
export interface ExportSource {
  /** What the log was at the time: origin, size and root. */
  readonly head: Checkpoint
  /** Whether a key from elsewhere vouches for the head. */
  readonly signatureChecked: boolean
  /** Where the log is a redacted copy, what is said about that; it is the head of the copy. */
  readonly manifest: Manifest | undefined
  /**
   * Entries from `from` on. Up to the size of the head, each has been led to its root. Those after it, which only a folder has and
   * only without keys, are durable and not signed for yet.
   * @throws UnprovedError
   */
  entries(from: number): AsyncGenerator<readonly LogEntry[]>
  close(): Promise<void>
}

/**
 * Opens a log. With `keys`, one of them must have signed its checkpoint, and nothing beyond that is read; without, the signature is
 * not looked at.
 * @throws NoteError when the checkpoint is malformed or not signed by one of the keys; UnprovedError when the tiles do not lead to it;
 * other errors when it cannot be read.
 */
export async function openExportSource(
  place: LogPlace,
  options: Omit<SourceOptions, 'signal'>,
  keys: readonly VerifierKey[] | undefined,
): Promise<ExportSource> {
  const dir = 'dir' in place ? place.dir : undefined
  const manifest = dir === undefined ? undefined : await manifestIn(dir, keys)
  const files = await openSource(place, options)

  async function readHead(): Promise<Checkpoint> {
    if (manifest !== undefined) return manifest
    const note = await files.checkpoint()
    if (note === undefined) throw new NoteError('there is no checkpoint')
    return keys === undefined ? parseCheckpoint(splitNote(note).text) : signedCheckpoint(note, keys)
  }

  const log = await openProvedLog(files, readHead).catch(async (error: unknown) => {
    await files.close()
    throw error
  })
  const { head } = log
  return {
    head,
    signatureChecked: keys !== undefined,
    manifest,
    close: files.close,
    async *entries(from) {
      yield* log.entries(from)
      if (keys === undefined && dir !== undefined) yield* unsignedEntries(dir, Math.max(from, head.size))
    },
  }
}

async function manifestIn(dir: string, keys: readonly VerifierKey[] | undefined): Promise<Manifest | undefined> {
  const note = await readSmallFile(nodeDisk, join(dir, manifestName), maxManifestBytes)
  if (note === undefined) return undefined
  return keys === undefined ? readManifest(note) : openManifest(note, keys)
}

function signedCheckpoint(note: Buffer, keys: readonly VerifierKey[]): Checkpoint {
  const { text, verifiedBy } = openNote(note, keys)
  const checkpoint = parseCheckpoint(text)
  if (!verifiedBy.includes(checkpoint.origin)) throw new NoteError('the checkpoint is of another log than the key')
  return checkpoint
}
