import { CompactEncrypt, importJWK } from 'jose'
import { BrokerFault } from '../base/errors.ts'
import { type Refusal, refuse } from '../base/result.ts'
import { Secret } from '../base/secret.ts'
import type { Minted } from '../engines/engine.ts'
import type { Ender } from '../grants/end.ts'
import type { Grant } from '../grants/grant.ts'
import type { Holder } from '../identity/holder.ts'
import type { Access } from '../policy/decision.ts'
import type { Entered } from './desk.ts'
import type { Recorded } from './mint.ts'

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
 * What was minted with its secret encrypted to the key of its caller: from here on nobody else can read it. A failure ends the grant, as
 * nobody has the secret to hand it back.
 */
export async function encrypted(
  ender: Pick<Ender, 'end'>,
  recorded: Recorded,
  { holder, by }: Pick<Entered, 'holder' | 'by'>,
): Promise<Recorded> {
  const { grant, minted } = recorded
  try {
    if (holder === undefined) throw new BrokerFault('internal', 'there is no key to encrypt to')
    return { ...recorded, minted: { ...minted, secret: await encryptTo(holder, grant, minted.secret) } }
  } catch (error) {
    await ender.end(grant, { cause: 'undelivered', by }).catch(() => {})
    throw error
  }
}

/**
 * The secret as a compact JWE (RFC 7516) that only the holder of the key opens. `kid` is the thumbprint of the key and `grant` the grant,
 * so that its recipient sees that no other answer was put in the place of this one.
 */
async function encryptTo(
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
