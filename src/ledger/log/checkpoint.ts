import { decodeBase64, NoteError, openNote, type SigningKey, signNote, type VerifierKey } from './note.ts'

/** A tree head: what the log looked like at a size. */
export interface Checkpoint {
  /** Identity of the log. */
  readonly origin: string
  readonly size: number
  /** RFC 6962 root, 32 bytes. */
  readonly root: Uint8Array
}

/** The note text of a checkpoint: origin, size, root. @see https://c2sp.org/tlog-checkpoint */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${Buffer.from(root).toString('base64')}\n`
}

/**
 * Reads the note text of a checkpoint. Strict: what it accepts, `formatCheckpoint` writes back byte for byte, but for
 * extension lines, which are allowed, signed, and not interpreted.
 * @throws NoteError
 */
export function parseCheckpoint(text: string): Checkpoint {
  if (!text.endsWith('\n')) throw new NoteError('a checkpoint ends in a newline')
  const lines = text.slice(0, -1).split('\n')
  const [origin, sizeText, rootText] = lines
  if (lines.includes('')) throw new NoteError('a checkpoint has no empty line')
  if (origin === undefined || sizeText === undefined || rootText === undefined) {
    throw new NoteError('a checkpoint has three lines: origin, size and root')
  }
  const root = decodeBase64(rootText)
  if (root.length !== 32) throw new NoteError('the root of a checkpoint is 32 bytes')
  return { origin, size: parseSize(sizeText), root }
}

/** Reads the size of a tree as it stands in checkpoints and in the witness protocol. @throws NoteError */
export function parseSize(text: string): number {
  if (/^(0|[1-9]\d{0,15})$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text)
  throw new NoteError('the size of a tree is a decimal number without leading zeros')
}

/** A checkpoint signed by keys of its log, whose names must be the origin; more than one while the log changes keys. */
export function signCheckpoint(checkpoint: Checkpoint, ...keys: readonly SigningKey[]): string {
  if (keys.some(({ name }) => name !== checkpoint.origin)) {
    throw new NoteError('the signing key is not named after the origin of the log')
  }
  return signNote(formatCheckpoint(checkpoint), keys)
}

/**
 * Reads a signed checkpoint and requires the signature of one of the keys, whose names must be the origin.
 * @throws NoteError
 */
export function openCheckpoint(note: string | Uint8Array, ...keys: readonly VerifierKey[]): Checkpoint {
  const checkpoint = parseCheckpoint(openNote(note, keys).text)
  if (keys.some(({ name }) => name !== checkpoint.origin))
    throw new NoteError('the checkpoint is of another log than the key')
  return checkpoint
}
