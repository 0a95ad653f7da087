import { createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'

/** A note, key or checkpoint that is malformed or does not verify. The message says which rule was broken. */
export class NoteError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'NoteError'
  }
}

/** A public key that signs notes, as an auditor holds it. */
export interface VerifierKey {
  readonly name: string
  /** Eight hexadecimal digits. */
  readonly id: string
  /** The text form: `name+id+base64`. */
  readonly vkey: string
  verify(message: Uint8Array, signature: Uint8Array): boolean
}

/** A private key that signs notes. */
export interface SigningKey {
  readonly name: string
  readonly id: string
  readonly vkey: string
  sign(message: Uint8Array): Uint8Array
}

export interface OpenedNote {
  /** What was signed, with its final newline. */
  readonly text: string
  /** Names of the given keys whose signatures verified; at least one. */
  readonly verifiedBy: readonly string[]
  /** Signatures by keys that were not given, which a verifier must ignore. */
  readonly ignored: number
}

const ed25519Type = 1
const keyBytes = 32
const maxNoteBytes = 512 * 1024
const maxSignatures = 100
const signaturePattern = /^— (\S+) ([A-Za-z0-9+/]+={0,2})$/u

/** Reads a verifier key; only Ed25519 (type 1) is accepted, and the id must be that of the name and key. */
export function parseVkey(text: string): VerifierKey {
  const [, name, id, encoded] = /^([^+]+)\+([0-9a-f]{8})\+(\S+)$/u.exec(text) ?? []
  if (name === undefined || id === undefined || encoded === undefined) {
    throw new NoteError('a verifier key has the form name+id+base64')
  }
  const publicKey = readKeyMaterial(name, encoded)
  if (keyId(name, publicKey) !== id) throw new NoteError('the id of the verifier key is not that of its name and key')
  const key = publicKeyObject(publicKey)
  return { name, id, vkey: text, verify: (message, signature) => verify(null, message, key, signature) }
}

/** Makes the signing key of a name from its 32-byte Ed25519 seed (RFC 8032). */
export function signingKeyOf(name: string, seed: Uint8Array): SigningKey {
  checkKeyName(name)
  const privateKey = privateKeyObject(seed)
  const publicKey = Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '', 'base64url')
  const id = keyId(name, publicKey)
  return {
    name,
    id,
    vkey: `${name}+${id}+${keyMaterial(publicKey)}`,
    sign: (message) => sign(null, message, privateKey),
  }
}

/** Text of a private key, as the Go module checksum database and Tessera write it. It is a secret. */
export function formatSkey(name: string, seed: Uint8Array): string {
  return `PRIVATE+KEY+${name}+${signingKeyOf(name, seed).id}+${keyMaterial(seed)}`
}

/** Reads the text of a private key. Messages never quote it. */
export function parseSkey(text: string): SigningKey {
  const [, name, id, encoded] = /^PRIVATE\+KEY\+([^+]+)\+([0-9a-f]{8})\+(\S+)$/u.exec(text.trim()) ?? []
  if (name === undefined || id === undefined || encoded === undefined) {
    throw new NoteError('a signing key has the form PRIVATE+KEY+name+id+base64')
  }
  const key = signingKeyOf(name, readKeyMaterial(name, encoded))
  if (key.id !== id) throw new NoteError('the id of the signing key is not that of its name and key')
  return key
}

/** Signs a text, which must end in a newline. @see https://c2sp.org/signed-note */
export function signNote(text: string, keys: readonly SigningKey[]): string {
  checkNoteText(text)
  const message = Buffer.from(text)
  const lines = keys.map((key) => {
    const blob = Buffer.concat([Buffer.from(key.id, 'hex'), key.sign(message)])
    return `— ${key.name} ${blob.toString('base64')}\n`
  })
  return `${text}\n${lines.join('')}`
}

/**
 * Reads a signed note: signatures by unknown keys are ignored, one by a known key that fails rejects the note, and at least
 * one known key must have signed.
 * @throws NoteError
 * @see https://c2sp.org/signed-note
 */
export function openNote(note: string | Uint8Array, keys: readonly VerifierKey[]): OpenedNote {
  const { text, signatures } = splitNote(decode(note))
  const message = Buffer.from(text)
  const verifiedBy = new Set<string>()
  let ignored = 0
  for (const signature of signatures) {
    const key = keys.find(({ name, id }) => name === signature.name && id === signature.id)
    if (key === undefined) ignored++
    else if (!key.verify(message, signature.bytes)) throw new NoteError(`the signature of ${key.name} does not verify`)
    else verifiedBy.add(key.name)
  }
  if (verifiedBy.size === 0) throw new NoteError('the note is not signed by the expected key')
  return { text, verifiedBy: [...verifiedBy], ignored }
}

/** The text of a note and the keys that claim to have signed it. Nothing is verified. @throws NoteError when it is malformed. */
export function signersOf(note: string | Uint8Array): {
  readonly text: string
  readonly signers: readonly { readonly name: string; readonly id: string }[]
} {
  const { text, signatures } = splitNote(decode(note))
  return { text, signers: signatures.map(({ name, id }) => ({ name, id })) }
}

interface Signature {
  readonly name: string
  readonly id: string
  readonly bytes: Uint8Array
}

function splitNote(note: string): { text: string; signatures: readonly Signature[] } {
  const split = note.lastIndexOf('\n\n')
  if (split < 0 || !note.endsWith('\n')) throw new NoteError('the note has no signatures')
  const text = note.slice(0, split + 1)
  const lines = note.slice(split + 2, -1).split('\n')
  checkNoteText(text)
  if (lines.length > maxSignatures) throw new NoteError(`the note has more than ${maxSignatures} signatures`)
  return { text, signatures: lines.map(readSignature) }
}

function readSignature(line: string): Signature {
  const [, name, encoded] = signaturePattern.exec(line) ?? []
  if (name === undefined || encoded === undefined) throw new NoteError('a signature line is malformed')
  checkKeyName(name)
  const blob = decodeBase64(encoded)
  if (blob.length < 5) throw new NoteError('a signature is too short')
  return { name, id: blob.toString('hex', 0, 4), bytes: blob.subarray(4) }
}

function decode(note: string | Uint8Array): string {
  if (note.length > maxNoteBytes) throw new NoteError(`the note is larger than ${maxNoteBytes} bytes`)
  if (typeof note === 'string') {
    if (!note.isWellFormed()) throw new NoteError('the note is not valid UTF-8')
    return note
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(note)
  } catch {
    throw new NoteError('the note is not valid UTF-8')
  }
}

function checkNoteText(text: string): void {
  if (!text.endsWith('\n')) throw new NoteError('the text of a note ends in a newline')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the rule is about control characters
  if (/[\x00-\x09\x0b-\x1f]/.test(text)) throw new NoteError('the note holds a control character')
}

function checkKeyName(name: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the rule is about control characters
  if (name === '' || !name.isWellFormed() || /[\p{White_Space}+\x00-\x1f]/u.test(name)) {
    throw new NoteError('a key name is not empty and holds no space, plus sign or control character')
  }
}

function keyId(name: string, publicKey: Uint8Array): string {
  const input = Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(ed25519Type), publicKey])
  return hash('sha256', input, 'hex').slice(0, 8)
}

function keyMaterial(key: Uint8Array): string {
  return Buffer.concat([Buffer.of(ed25519Type), key]).toString('base64')
}

function readKeyMaterial(name: string, encoded: string): Buffer {
  checkKeyName(name)
  const material = decodeBase64(encoded)
  if (material[0] !== ed25519Type || material.length !== keyBytes + 1) {
    throw new NoteError('the key is not an Ed25519 key (type 1, 32 bytes)')
  }
  return material.subarray(1)
}

/** Strict RFC 4648 §4: what is read is exactly what would be written. */
export function decodeBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') !== text) throw new NoteError('the base64 is not canonical')
  return bytes
}

// RFC 8410: what stands before the 32 bytes of a seed in PKCS#8, and of a public key in SPKI.
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex')
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex')

function privateKeyObject(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: 'der', type: 'pkcs8' })
}

function publicKeyObject(publicKey: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([spkiPrefix, publicKey]), format: 'der', type: 'spki' })
}
