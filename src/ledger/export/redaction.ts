import type { Checkpoint } from '../log/checkpoint.ts'
import {
  decodeBase64,
  NoteError,
  openNote,
  type SigningKey,
  signNote,
  splitNote,
  type VerifierKey,
} from '../log/note.ts'

/**
 * What stands in the file `manifest` of a redacted copy, in place of a checkpoint. As a `Checkpoint` it is the head of the copy: the
 * origin, the number of entries and the root over the redacted ones.
 */
export interface Manifest extends Checkpoint {
  /** Root over the entries of the log itself at that size, 32 bytes. */
  readonly sourceRoot: Uint8Array
  /** Version of the rules by which entries were redacted. */
  readonly transform: number
  /** Hash that names the key the names were hashed with, 64 hexadecimal digits. */
  readonly namesKeyId: string
}

const header = 'writ.dev/ledger-redaction@v1'

/** Name of the manifest in the folder of a redacted copy. */
export const manifestName = 'manifest'
/** Greatest size of a manifest, in bytes. */
export const maxManifestBytes: number = 64 * 1024

/**
 * The manifest as a C2SP signed note by the key of the ledger. Its text has seven lines:
 *
 *     writ.dev/ledger-redaction@v1
 *     origin of the log
 *     number of entries
 *     root over the entries of the log, base64
 *     root over the redacted entries, base64
 *     version of the rules
 *     id of the names key
 *
 * No checkpoint reads like this, because the size of one stands in its second line and is followed by a root.
 * @throws NoteError when the log itself is named as manifests begin, or the key is not named after it
 */
export function signManifest(manifest: Manifest, key: SigningKey): string {
  if (key.name !== manifest.origin) throw new NoteError('the signing key is not named after the origin of the log')
  if (manifest.origin === header) throw new NoteError(`no log can be called ${header}`)
  return signNote(formatManifest(manifest), [key])
}

function formatManifest({ origin, size, sourceRoot, root, transform, namesKeyId }: Manifest): string {
  const [source, redacted] = [sourceRoot, root].map((hash) => Buffer.from(hash).toString('base64'))
  return `${header}\n${origin}\n${size}\n${source}\n${redacted}\n${transform}\n${namesKeyId}\n`
}

/**
 * Reads a manifest and requires the signature of one of `keys`, whose name must be the origin. What it gives is the head to verify
 * the copy against.
 * @throws NoteError
 */
export function openManifest(note: string | Uint8Array, keys: readonly VerifierKey[]): Manifest {
  const { text, verifiedBy } = openNote(note, keys)
  const manifest = parseManifest(text)
  if (!verifiedBy.includes(manifest.origin)) throw new NoteError('the manifest is of another log than the key')
  return manifest
}

/** Reads a manifest without looking at its signature: what it says is then anybody's claim. @throws NoteError */
export const readManifest = (note: string | Uint8Array): Manifest => parseManifest(splitNote(note).text)

/** Strict: what it accepts, `formatManifest` writes back byte for byte. Attacker-controlled input. */
export function parseManifest(text: string): Manifest {
  const [kind, origin = '', sizeText = '', sourceText = '', rootText = '', transformText = '', namesKeyId = ''] =
    text.split('\n')
  if (kind !== header) throw new NoteError(`a manifest begins with the line ${header}`)
  const manifest: Manifest = {
    origin,
    size: Number(sizeText),
    sourceRoot: decodeBase64(sourceText),
    root: decodeBase64(rootText),
    transform: Number(transformText),
    namesKeyId,
  }
  const { size, sourceRoot, root, transform } = manifest
  const isSound =
    origin !== '' &&
    origin !== header &&
    Number.isSafeInteger(size) &&
    size >= 0 &&
    Number.isSafeInteger(transform) &&
    transform >= 1 &&
    sourceRoot.length === 32 &&
    root.length === 32 &&
    /^[0-9a-f]{64}$/.test(namesKeyId)
  if (!isSound || formatManifest(manifest) !== text) throw new NoteError('the manifest is malformed')
  return manifest
}
