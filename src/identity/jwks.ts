import { type CryptoKey, importJWK, type JWK } from 'jose'
import { type Json, parseStrictJson } from '../base/json.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'

/** A signature algorithm an Issuer may list. */
export type Algorithm = IssuerPolicy['algorithms'][number]

/** Public keys ready to verify with. */
export interface KeySet {
  /** How many keys of the document are of use to this issuer. */
  readonly size: number
  /** Keys for the algorithm; of that `kid` where one is given. More than one is for the caller to refuse. */
  find(algorithm: Algorithm, kid: string | undefined): readonly CryptoKey[]
  /** When whoever published the document asks to be looked at again; the usual time when absent. */
  readonly refreshAfterMs?: number
}

/** A key document that cannot be used. The message quotes nothing of it. */
export class KeyDocumentError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'KeyDocumentError'
  }
}

const documentBounds = { maxDepth: 6, maxMembers: 4000 }
const maxKeys = 100
const minRsaBits = 2048

// Members that only a private or symmetric key has (RFC 7518 sections 6.2.2, 6.3.2 and 6.4; RFC 8037 section 2).
const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'] as const

/** Reads the text of a JWK Set or discovery document strictly. @throws KeyDocumentError */
export function readDocument(text: string): Readonly<Record<string, Json>> {
  const parsed = parseStrictJson(text, documentBounds)
  if (!parsed.ok) throw new KeyDocumentError(`the document cannot be read: ${parsed.refusal.text}`)
  if (!isObject(parsed.value)) throw new KeyDocumentError('the document is not a JSON object')
  return parsed.value
}

/**
 * Imports the keys of a JWK Set (RFC 7517 section 5) that verify one of the algorithms, once, so that no request does.
 * A set that holds a private or symmetric key is refused whole: whoever published it has lost it. Keys of other
 * types, uses and algorithms are passed over, as section 5 asks; `isMeant` tells the uses apart. @throws KeyDocumentError
 */
export async function importKeySet(
  document: unknown,
  algorithms: readonly Algorithm[],
  isMeant: (jwk: JsonObject) => boolean = isForSignatures,
): Promise<KeySet> {
  const jwks = isObject(document) ? document.keys : undefined
  if (!Array.isArray(jwks)) throw new KeyDocumentError('the document has no list of keys')
  if (jwks.length > maxKeys) throw new KeyDocumentError(`the document has more than ${maxKeys} keys`)
  const entries: ImportedKey[] = []
  let size = 0
  let unusable: string | undefined
  for (const jwk of jwks as readonly unknown[]) {
    if (!isObject(jwk)) throw new KeyDocumentError('a key is not a JSON object')
    if (isPrivate(jwk)) {
      throw new KeyDocumentError('the document holds a private or symmetric key')
    }
    try {
      const fitting = isMeant(jwk) ? algorithms.filter((algorithm) => serves(jwk, algorithm)) : []
      const imported = await Promise.all(fitting.map((algorithm) => importOne(jwk, algorithm)))
      entries.push(...imported)
      if (imported.length > 0) size++
    } catch (error) {
      // One bad key does not take the good ones down; tokens signed with it are refused as signed by nobody.
      if (!(error instanceof KeyDocumentError)) throw error
      unusable ??= error.message
    }
  }
  if (size === 0) throw new KeyDocumentError(unusable ?? `the document has no key for ${algorithms.join(', ')}`)
  return {
    size,
    find: (algorithm, kid) =>
      entries
        .filter((entry) => entry.algorithm === algorithm && (kid === undefined || entry.kid === kid))
        .map(({ key }) => key),
  }
}

/** Whether the key is symmetric or holds its private part. */
export const isPrivate = (jwk: JsonObject): boolean =>
  jwk.kty === 'oct' || privateMembers.some((name) => Object.hasOwn(jwk, name))

/** A key as published. */
export type JsonObject = { readonly [name: string]: Json }
export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const curves: Partial<Record<Algorithm, string>> = {
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
  EdDSA: 'Ed25519',
  Ed25519: 'Ed25519',
}

// `Ed25519` (RFC 9864) and `EdDSA` name the same operation here: the only curve taken is Ed25519.
const sameOperation = (named: Json, algorithm: Algorithm): boolean =>
  named === algorithm || (curves[algorithm] === 'Ed25519' && (named === 'EdDSA' || named === 'Ed25519'))

export const isForSignatures = ({ use }: JsonObject): boolean => use === undefined || use === 'sig'

/** Whether the key says that it verifies signatures of that algorithm. */
export function serves(jwk: JsonObject, algorithm: Algorithm): boolean {
  if (Array.isArray(jwk.key_ops) && !jwk.key_ops.includes('verify')) return false
  if (jwk.alg !== undefined && !sameOperation(jwk.alg, algorithm)) return false
  const curve = curves[algorithm]
  if (curve === undefined) return jwk.kty === 'RSA'
  return jwk.kty === (curve === 'Ed25519' ? 'OKP' : 'EC') && jwk.crv === curve
}

interface ImportedKey {
  readonly algorithm: Algorithm
  readonly kid: string | undefined
  readonly key: CryptoKey
}

async function importOne(jwk: JsonObject, algorithm: Algorithm): Promise<ImportedKey> {
  const { kid } = jwk
  if (kid !== undefined && typeof kid !== 'string') throw new KeyDocumentError('a kid is not text')
  return { algorithm, kid, key: await importPublic(jwk, algorithm) }
}

/** The key, of its public members alone: `key_ops`, `ext` and certificates have no say. @throws KeyDocumentError */
export async function importPublic(jwk: JsonObject, algorithm: Algorithm): Promise<CryptoKey> {
  const { kty, crv, x, y, n, e } = jwk
  let key: CryptoKey | Uint8Array
  try {
    key = await importJWK({ kty, crv, x, y, n, e } as JWK, algorithm)
  } catch {
    throw new KeyDocumentError(`a key for ${algorithm} is not well formed`)
  }
  if (key instanceof Uint8Array) throw new KeyDocumentError('the document holds a private or symmetric key')
  const bits = (key.algorithm as { modulusLength?: number }).modulusLength
  if (bits !== undefined && bits < minRsaBits)
    throw new KeyDocumentError(`an RSA key is shorter than ${minRsaBits} bits`)
  return key
}
