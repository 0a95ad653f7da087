import { createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'

/** A note, key or checkpoint that is malformed or does not verify. The message says which rule was broken. */
export class NoteError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'NoteError'
  }
}

/** Name and id of a key: together they say whose a signature line is. */
export interface KeyName {
  readonly name: string
  /** Eight hexadecimal digits. */
  readonly id: string
  /** The text form: `name+id+base64`. */
  readonly vkey: string
}

/** A public key that checks lines of notes. */
export interface NoteKey extends KeyName {
  verify(message: Uint8Array, signature: Uint8Array): boolean
}

/** The public key of a log, as an auditor holds it. */
export interface VerifierKey extends NoteKey {
  readonly type: typeof keyTypes.ed25519
}

/** A private key that signs notes. */
export interface SigningKey extends KeyName {
  sign(message: Uint8Array): Uint8Array
}

/** One signature line of a note. */
export interface NoteSignature {
  readonly name: string
  readonly id: string
  /** What the key's algorithm made of the text. */
  readonly bytes: Uint8Array
}

/** A note taken apart; nothing of it is verified. */
export interface SplitNote {
  /** What was signed, with its final newline. */
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

/** A signature that verified, and the key it did under. */
export interface VerifiedSignature<Key extends NoteKey = NoteKey> extends NoteSignature {
  readonly key: Key
}

export interface OpenedNote {
  /** What was signed, with its final newline. */
  readonly text: string
  /** Names of the given keys whose signatures verified; at least one. */
  readonly verifiedBy: readonly string[]
  /** Signatures by keys that were not given, which a verifier must ignore. */
  readonly ignored: number
}

/**
 * The first byte of a key says what its signatures are made of; these two are known here.
 * @see https://c2sp.org/signed-note section Signature types
 */
export const keyTypes = { ed25519: 1, cosignature: 4 } as const
type KeyType = (typeof keyTypes)[keyof typeof keyTypes]

const keyBytes = 32
const maxNoteBytes = 512 * 1024
const maxSignatures = 100
const signaturePattern = /^— (\S+) ([A-Za-z0-9+/]+={0,2})$/u

/** Reads the verifier key of a log: Ed25519 (type 1), with the id of its name and key. @throws NoteError */
export function parseVkey(text: string): VerifierKey {
  const { publicKey, ...name } = readVkey(text, keyTypes.ed25519)
  return {
    ...name,
    type: keyTypes.ed25519,
    verify: (message, signature) => verify(null, message, publicKey, signature),
  }
}

/** The public half of a key of that type. @throws NoteError */
export function readVkey(text: string, type: KeyType): KeyName & { readonly publicKey: KeyObject } {
  const [, name, id, encoded] = /^([^+]+)\+([0-9a-f]{8})\+(\S+)$/u.exec(text) ?? []
  if (name === undefined || id === undefined || encoded === undefined) {
    throw new NoteError('a verifier key has the form name+id+base64')
  }
  const bytes = readKeyMaterial(name, encoded, type)
  if (keyId(name, bytes, type) !== id) throw new NoteError('the id of the verifier key is not that of its name and key')
  return { name, id, vkey: text, publicKey: publicKeyObject(bytes) }
}

/** Makes the signing key of a name from its 32-byte Ed25519 seed (RFC 8032). */
export function signingKeyOf(name: string, seed: Uint8Array): SigningKey {
  const { privateKey, ...key } = keyPairOf(name, seed, keyTypes.ed25519)
  return { ...key, sign: (message) => sign(null, message, privateKey) }
}

function keyPairOf(name: string, seed: Uint8Array, type: KeyType): KeyName & { readonly privateKey: KeyObject } {
  checkKeyName(name)
  const privateKey = privateKeyObject(seed)
  const publicKey = Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '', 'base64url')
  const id = keyId(name, publicKey, type)
  return { name, id, vkey: `${name}+${id}+${keyMaterial(publicKey, type)}`, privateKey }
}

/** Text of a private key, as the Go module checksum database and Tessera write it. It is a secret. */
export function formatSkey(name: string, seed: Uint8Array, type: KeyType = keyTypes.ed25519): string {
  return `PRIVATE+KEY+${name}+${keyPairOf(name, seed, type).id}+${keyMaterial(seed, type)}`
}

/** Reads the text of a log's private key. Messages never quote it. @throws NoteError */
export function parseSkey(text: string): SigningKey {
  const { privateKey, ...key } = readSkey(text, keyTypes.ed25519)
  return { ...key, sign: (message) => sign(null, message, privateKey) }
}

/** The private half of a key of that type. Messages never quote it. @throws NoteError */
export function readSkey(text: string, type: KeyType): KeyName & { readonly privateKey: KeyObject } {
  const [, name, id, encoded] = /^PRIVATE\+KEY\+([^+]+)\+([0-9a-f]{8})\+(\S+)$/u.exec(text.trim()) ?? []
  if (name === undefined || id === undefined || encoded === undefined) {
    throw new NoteError('a signing key has the form PRIVATE+KEY+name+id+base64')
  }
  const key = keyPairOf(name, readKeyMaterial(name, encoded, type), type)
  if (key.id !== id) throw new NoteError('the id of the signing key is not that of its name and key')
  return key
}

/** Signs a text, which must end in a newline. @see https://c2sp.org/signed-note */
export function signNote(text: string, keys: readonly SigningKey[]): string {
  checkNoteText(text)
  const message = Buffer.from(text)
  return formatNote({ text, signatures: keys.map(({ name, id, sign }) => ({ name, id, bytes: sign(message) })) })
}

/** The note of a text and its signatures: what `splitNote` reads. */
export const formatNote = ({ text, signatures }: SplitNote): string =>
  `${text}\n${signatures.map(formatSignature).join('')}`

/** A signature line, with its newline. */
export function formatSignature({ name, id, bytes }: NoteSignature): string {
  return `— ${name} ${Buffer.concat([Buffer.from(id, 'hex'), bytes]).toString('base64')}\n`
}

/**
 * Reads a signed note: signatures by unknown keys are ignored, one by a known key that fails rejects the note, and at least
 * one known key must have signed.
 * @throws NoteError
 * @see https://c2sp.org/signed-note
 */
export function openNote(note: string | Uint8Array, keys: readonly NoteKey[]): OpenedNote {
  const split = splitNote(note)
  const verified = verifySignatures(split, keys)
  if (verified.length === 0) throw new NoteError('the note is not signed by the expected key')
  const verifiedBy = [...new Set(verified.map(({ name }) => name))]
  return { text: split.text, verifiedBy, ignored: split.signatures.length - verified.length }
}

/**
 * Those signatures that are by one of the keys, in the order of the note.
 * @throws NoteError when one that bears the name and id of a key was not made by it
 */
export function verifySignatures<Key extends NoteKey>(
  { text, signatures }: SplitNote,
  keys: readonly Key[],
): readonly VerifiedSignature<Key>[] {
  const message = Buffer.from(text)
  return signatures.flatMap((signature) => {
    const key = keys.find(({ name, id }) => name === signature.name && id === signature.id)
    if (key === undefined) return []
    if (!key.verify(message, signature.bytes)) throw new NoteError(`the signature of ${key.name} does not verify`)
    return [{ ...signature, key }]
  })
}

/**
 * Takes a note apart without verifying anything. Attacker-controlled input: its size and number of signatures are bounded.
 * @throws NoteError
 */
export function splitNote(note: string | Uint8Array): SplitNote {
  const whole = decode(note)
  const split = whole.lastIndexOf('\n\n')
  if (split < 0 || !whole.endsWith('\n')) throw new NoteError('the note has no signatures')
  const text = whole.slice(0, split + 1)
  checkNoteText(text)
  return { text, signatures: readSignatures(whole.slice(split + 2)) }
}

/** Reads signature lines, each with its newline, at least one. Attacker-controlled input. @throws NoteError */
export function readSignatures(block: string): readonly NoteSignature[] {
  if (!block.endsWith('\n')) throw new NoteError('a signature line ends in a newline')
  const lines = block.slice(0, -1).split('\n')
  if (lines.length > maxSignatures) throw new NoteError(`there are more than ${maxSignatures} signatures`)
  return lines.map(readSignature)
}

function readSignature(line: string): NoteSignature {
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

function keyId(name: string, publicKey: Uint8Array, type: KeyType): string {
  const input = Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(type), publicKey])
  return hash('sha256', input, 'hex').slice(0, 8)
}

function keyMaterial(key: Uint8Array, type: KeyType): string {
  return Buffer.concat([Buffer.of(type), key]).toString('base64')
}

function readKeyMaterial(name: string, encoded: string, type: KeyType): Buffer {
  checkKeyName(name)
  const material = decodeBase64(encoded)
  if (material[0] !== type) {
    throw new NoteError(`the key is ${describeType(material[0])}, and ${describeType(type)} is needed here`)
  }
  if (material.length !== keyBytes + 1) throw new NoteError(`the key is not of ${keyBytes} bytes`)
  return material.subarray(1)
}

function describeType(type: number | undefined): string {
  if (type === keyTypes.ed25519) return 'the Ed25519 key of a log (type 1)'
  if (type === keyTypes.cosignature) return 'the cosignature key of a witness (type 4)'
  return `of type ${type ?? 'none'}, which is not known`
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
