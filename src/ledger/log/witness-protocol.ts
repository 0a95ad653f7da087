import { sha256Hex } from '../../base/digest.ts'
import { parseSize } from './checkpoint.ts'
import { decodeBase64, NoteError } from './note.ts'
import type { Proof } from './proof.ts'

/**
 * What a log and a witness say to each other, written down and read. Pure.
 * @see https://c2sp.org/tlog-witness
 */

/** A checkpoint handed to a witness. */
export interface AddCheckpoint {
  /** Entries of the newest checkpoint that the sender believes the witness has cosigned. */
  readonly from: number
  /** That the tree of `note` extends the one over `from` entries; empty from 0 on. */
  readonly proof: Proof
  /** The signed checkpoint. */
  readonly note: string
}

/** Media type of the answer that names the size the witness has. */
export const sizeType = 'text/x.tlog.size'

/** Most bytes of a request: the proof, and a checkpoint with 16 signatures of the largest kind there is. */
export const maxRequestBytes: number = 128 * 1024

const maxProofLines = 63

/** The body of `POST <prefix>/add-checkpoint`. */
export function formatAddCheckpoint({ from, proof, note }: AddCheckpoint): string {
  const lines = proof.map((hash) => `${Buffer.from(hash).toString('base64')}\n`)
  return `old ${from}\n${lines.join('')}\n${note}`
}

/** Reads that body. Attacker-controlled input: the note is neither taken apart nor verified yet. @throws NoteError */
export function parseAddCheckpoint(body: Uint8Array): AddCheckpoint {
  const text = decode(body)
  const end = text.indexOf('\n\n')
  if (end < 0) throw new NoteError('no empty line stands before the checkpoint')
  const [first = '', ...lines] = text.slice(0, end).split('\n')
  if (!first.startsWith('old ')) throw new NoteError('the first line is not "old" and a size')
  if (lines.length > maxProofLines) throw new NoteError(`the proof is of more than ${maxProofLines} hashes`)
  const proof = lines.map(decodeBase64)
  if (proof.some(({ length }) => length !== 32)) throw new NoteError('a hash of the proof is not of 32 bytes')
  return { from: parseSize(first.slice(4)), proof, note: text.slice(end + 2) }
}

/** Path of a log's newest cosigned checkpoint below the monitoring prefix of a witness. */
export const monitorPath = (origin: string): string => `${sha256Hex(origin)}/checkpoint`

function decode(body: Uint8Array): string {
  if (body.length > maxRequestBytes) throw new NoteError(`the request is larger than ${maxRequestBytes} bytes`)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
  } catch {
    throw new NoteError('the request is not UTF-8')
  }
}
