import { sign, verify } from 'node:crypto'
import {
  type KeyName,
  keyTypes,
  NoteError,
  type NoteKey,
  type NoteSignature,
  readSkey,
  readVkey,
  splitNote,
  verifySignatures,
} from './note.ts'

/**
 * Cosignatures of witnesses (C2SP tlog-cosignature, `cosignature/v1`, Ed25519): a signature line over the text of a checkpoint and
 * the time at which the witness had seen no larger tree of that log. Pure.
 * @see https://c2sp.org/tlog-cosignature
 */

/** The public key of a witness, as those hold it who count its cosignatures. */
export interface WitnessKey extends NoteKey {
  readonly type: typeof keyTypes.cosignature
}

/** The private key of a witness. */
export interface CosigningKey extends KeyName {
  /** The line for a checkpoint's text, as of `timeMs`, which is written down in whole seconds. */
  cosign(text: string, timeMs: number): NoteSignature
}

/** What a witness said of a checkpoint. */
export interface Cosignature {
  /** Name of the witness. */
  readonly name: string
  /** When it said so, by its own clock (ms since the epoch, whole seconds). */
  readonly timeMs: number
}

const timeBytes = 8
const signatureBytes = 64
/** The last second that a date can hold; a time beyond it is no time. */
const lastSecond = 8_640_000_000_000n

/** Reads the verifier key of a witness: type 4, with the id of its name and key. @throws NoteError */
export function parseWitnessVkey(text: string): WitnessKey {
  const { publicKey, ...name } = readVkey(text, keyTypes.cosignature)
  return {
    ...name,
    type: keyTypes.cosignature,
    verify(message, bytes) {
      if (bytes.length !== timeBytes + signatureBytes) return false
      const second = secondOf(bytes)
      if (second === 0n || second > lastSecond) return false
      return verify(null, cosignedMessage(message, second), publicKey, bytes.subarray(timeBytes))
    },
  }
}

/**
 * The keys of several witnesses. One public key under two names is refused, because it would count twice; several keys under one
 * name are one witness that has changed its key.
 * @throws NoteError
 */
export function parseWitnessVkeys(texts: readonly string[]): readonly WitnessKey[] {
  const nameOf = new Map<string, string>()
  return texts.map((text) => {
    const key = parseWitnessVkey(text)
    const material = text.slice(`${key.name}+${key.id}+`.length)
    const other = nameOf.get(material)
    if (other !== undefined && other !== key.name) {
      throw new NoteError(`the witnesses ${other} and ${key.name} have the same key`)
    }
    nameOf.set(material, key.name)
    return key
  })
}

/** Reads the text of a witness's private key. Messages never quote it. @throws NoteError */
export function parseWitnessSkey(text: string): CosigningKey {
  const { privateKey, ...key } = readSkey(text, keyTypes.cosignature)
  return {
    ...key,
    cosign(checkpoint, timeMs) {
      const second = BigInt(Math.floor(timeMs / 1000))
      const time = Buffer.alloc(timeBytes)
      time.writeBigUInt64BE(second)
      const signature = sign(null, cosignedMessage(Buffer.from(checkpoint), second), privateKey)
      return { name: key.name, id: key.id, bytes: Buffer.concat([time, signature]) }
    },
  }
}

/**
 * The cosignatures that a checkpoint carries of these witnesses, at most one for each name; N of M hold when there are N of them.
 * Signatures by others are ignored, that of the log among them: it is for `openCheckpoint` to check. Attacker-controlled input.
 * @throws NoteError when the note is malformed, or when a line that bears the name and id of a key was not made by it
 */
export function cosignaturesOf(note: string | Uint8Array, keys: readonly WitnessKey[]): readonly Cosignature[] {
  const found = new Map<string, Cosignature>()
  for (const { name, bytes } of verifySignatures(splitNote(note), keys)) {
    found.set(name, { name, timeMs: Number(secondOf(bytes)) * 1000 })
  }
  return [...found.values()]
}

const secondOf = (bytes: Uint8Array): bigint => new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0)

const cosignedMessage = (text: Uint8Array, second: bigint): Buffer =>
  Buffer.concat([Buffer.from(`cosignature/v1\ntime ${second}\n`), text])
