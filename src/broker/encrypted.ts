import { CompactEncrypt, importJWK } from 'jose'
import { type Refusal, refuse } from '../base/result.ts'
import { Secret } from '../base/secret.ts'
import type { Minted } from '../engines/engine.ts'
import type { Grant } from '../grants/grant.ts'
import type { Holder } from '../identity/holder.ts'
import type { Access } from '../policy/decision.ts'

/** Why a secret cannot be encrypted to that key, where it is to be: there is none, or it is one that signs alone. */
export function whyNotEncrypted({ delivery }: Access, holder: Holder | undefined): Refusal | undefined {
  if (delivery !== 'jwe') return undefined
  if (holder === undefined) {
    return refuse('proof_invalid', 'delivery', 'it is delivered jwe, and no DPoP proof says to which key').refusal
  }
  if (holder.jwk.kty !== 'OKP') return undefined
  const rule = 'delivery: jwe needs a proof by an EC or RSA key; an Ed25519 key cannot decrypt'
  return refuse('request_invalid', rule, holder.jkt).refusal
}

/**
 * The secret as a compact JWE (RFC 7516) that only the holder of the key opens. `kid` is the thumbprint of the key and `grant` the grant,
 * so that its recipient sees that no other answer was put in the place of this one.
 */
export async function encryptTo(
  { jkt, jwk }: Holder,
  grant: Grant,
  secret: Minted['secret'],
): Promise<Secret<{ readonly jwe: string }>> {
  const alg = jwk.kty === 'RSA' ? 'RSA-OAEP-256' : 'ECDH-ES+A256KW'
  const jwe = await new CompactEncrypt(new TextEncoder().encode(JSON.stringify(secret.reveal())))
    .setProtectedHeader({ alg, enc: 'A256GCM', cty: 'json', kid: jkt, grant: grant.id })
    .encrypt(await importJWK({ ...jwk }, alg))
  return new Secret({ jwe })
}
