import { type CryptoKey, calculateJwkThumbprint, exportJWK } from 'jose'
import { type Finding, failed, passed, shown } from './check.ts'
import type { Holder, PublicJwk } from './holder.ts'
import type { Claim, Claims } from './identity.ts'
import { type Algorithm, importPublic, isForSignatures, isObject, isPrivate, KeyDocumentError, serves } from './jwks.ts'

/** Signature algorithms of proofs; all of them are asymmetric (RFC 9449 section 4.2). */
export const proofAlgorithms = [
  'ES256',
  'ES384',
  'ES512',
  'PS256',
  'RS256',
  'EdDSA',
  'Ed25519',
] as const satisfies readonly Algorithm[]
type ProofAlgorithm = (typeof proofAlgorithms)[number]

/** The key that a proof says it was made with; none when it was refused. */
interface ProofKey {
  readonly finding: Finding
  readonly found?: { readonly algorithm: ProofAlgorithm; readonly key: CryptoKey; readonly holder: Holder }
}

// An RSA key of 4096 bits. Verifying costs more with each bit, of the exponent most of all.
const longestModulus = Math.ceil((512 * 4) / 3)
const longestExponent = 6

/**
 * The key in the header of a proof, if it is public, of one of the algorithms, and of a length that is safe and costs little. The
 * thumbprint is that of the key itself, however its numbers were written.
 */
export async function proofKeyOf({ alg, jwk }: Claims): Promise<ProofKey> {
  const refused = (rule: string, detail: string): ProofKey => ({ finding: failed('proof_invalid', rule, detail) })
  const algorithm = proofAlgorithms.find((name) => name === alg)
  if (algorithm === undefined) {
    return refused('proof.algorithm', `${shown(alg)} is not one of ${proofAlgorithms.join(', ')}`)
  }
  if (!isKey(jwk)) return refused('proof.key', 'there is no jwk')
  if (isPrivate(jwk)) return refused('proof.key', 'the jwk holds a private or symmetric key')
  if (!isForSignatures(jwk) || !serves(jwk, algorithm))
    return refused('proof.key', `the jwk is not one for ${algorithm}`)
  if (isLong(jwk.n, longestModulus) || isLong(jwk.e, longestExponent)) {
    return refused('proof.key', 'an RSA key of more than 4096 bits, or with a large exponent')
  }
  try {
    const key = await importPublic(jwk, algorithm)
    const publicJwk = publicMembers(await exportJWK(key))
    const holder = { jkt: await calculateJwkThumbprint(publicJwk, 'sha256'), jwk: publicJwk }
    return { finding: passed('proof.key', `${algorithm}, ${holder.jkt}`), found: { algorithm, key, holder } }
  } catch (error) {
    return refused('proof.key', error instanceof KeyDocumentError ? error.message : 'the jwk cannot be used')
  }
}

const isKey = (value: Claim | undefined): value is Claims => isObject(value)
const isLong = (value: Claim | undefined, longest: number): boolean =>
  typeof value === 'string' && value.length > longest

function publicMembers({
  kty,
  crv = '',
  x = '',
  y = '',
  n = '',
  e = '',
}: Awaited<ReturnType<typeof exportJWK>>): PublicJwk {
  if (kty === 'EC') return { kty: 'EC', crv, x, y }
  if (kty === 'RSA') return { kty: 'RSA', n, e }
  return { kty: 'OKP', crv, x }
}
