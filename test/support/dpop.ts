import { createHash, randomUUID } from 'node:crypto'
import {
  type CryptoKey,
  calculateJwkThumbprint,
  compactDecrypt,
  exportJWK,
  generateKeyPair,
  importJWK,
  type JWK,
  SignJWT,
} from 'jose'

export type ProofAlgorithm = 'ES256' | 'ES384' | 'ES512' | 'PS256' | 'RS256' | 'EdDSA' | 'Ed25519'

/** A key pair that a workload made for itself. */
export interface Pair {
  readonly alg: ProofAlgorithm
  readonly jkt: string
  readonly jwk: JWK
  readonly privateJwk: JWK
  readonly privateKey: CryptoKey
}

/** What a proof is made for. */
export interface ProofTarget {
  readonly method: string
  readonly url: string
  readonly token: string
  /** Seconds since the epoch. */
  readonly now: number
}

type Fields = Readonly<Record<string, unknown>>

export async function newPair(alg: ProofAlgorithm = 'ES256', options: { modulusLength?: number } = {}): Promise<Pair> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true, ...options })
  const jwk = await exportJWK(publicKey)
  return { alg, jkt: await calculateJwkThumbprint(jwk), jwk, privateJwk: await exportJWK(privateKey), privateKey }
}

/** The claims of a proof that is right in every way (RFC 9449 section 4.2). */
const claimsFor = ({ method, url, token, now }: ProofTarget): Fields => ({
  jti: randomUUID(),
  htm: method,
  htu: url,
  iat: Math.floor(now),
  ath: createHash('sha256').update(token).digest('base64url'),
})

/** A signed proof; a claim or header given as `undefined` is left out. */
export const prove = (pair: Pair, target: ProofTarget, claims: Fields = {}, header: Fields = {}): Promise<string> =>
  new SignJWT(withoutAbsent({ ...claimsFor(target), ...claims }))
    .setProtectedHeader({ alg: pair.alg, ...withoutAbsent({ typ: 'dpop+jwt', jwk: pair.jwk, ...header }) })
    .sign(pair.privateKey)

const withoutAbsent = (fields: Fields): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

/** What is in a JWE, and its header. */
export async function openJwe(jwe: string, { privateJwk }: Pair) {
  const alg = privateJwk.kty === 'RSA' ? 'RSA-OAEP-256' : 'ECDH-ES+A256KW'
  const { plaintext, protectedHeader } = await compactDecrypt(jwe, await importJWK(privateJwk, alg))
  return { secret: JSON.parse(new TextDecoder().decode(plaintext)) as Record<string, string>, header: protectedHeader }
}
