import { createPrivateKey, type JsonWebKeyInput } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { importJWK, importPKCS8, type JWK, SignJWT } from 'jose'
import { messageOf } from '../base/errors.ts'
import { composeSet, type SetOrder } from '../signals/compose-set.ts'
import { parseJson } from './broker-call.ts'
import { CommandError, exit } from './command.ts'

/** Signs a SET with the private key in a file: PKCS #8 PEM or a JWK. @throws CommandError when there is no such key in it */
export async function signSet(from: {
  readonly keyFile: string
  readonly kid: string | undefined
  readonly order: SetOrder
}): Promise<string> {
  const { alg, kid, key } = await readKey(from.keyFile)
  const named = from.kid ?? kid
  return await new SignJWT(composeSet(from.order))
    .setProtectedHeader({ alg, typ: 'secevent+jwt', ...(named === undefined ? {} : { kid: named }) })
    .sign(key)
}

const byKind = { rsa: 'RS256', 'rsa-pss': 'PS256', ed25519: 'EdDSA' } as const
const byCurve = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' } as const

async function readKey(path: string) {
  try {
    const text = await readFile(path, 'utf8')
    const jwk = parseJson(text) as JWK | undefined
    if (jwk !== undefined) {
      const alg = jwk.alg ?? algorithmOf(text, 'jwk')
      return { alg, kid: jwk.kid, key: await importJWK(jwk, alg) }
    }
    const alg = algorithmOf(text, 'pem')
    return { alg, kid: undefined, key: await importPKCS8(text, alg) }
  } catch (error) {
    // What a library says of a key may quote it.
    const reason = error instanceof Error && 'code' in error && error.code === 'ENOENT' ? `: ${messageOf(error)}` : ''
    throw new CommandError(exit.fault, `${path} holds no private key that signs here${reason}`)
  }
}

function algorithmOf(text: string, format: 'jwk' | 'pem'): string {
  const key = createPrivateKey(format === 'jwk' ? { key: JSON.parse(text) as JsonWebKeyInput['key'], format } : text)
  const kind = key.asymmetricKeyType ?? ''
  if (kind === 'ec') return byCurve[key.asymmetricKeyDetails?.namedCurve as keyof typeof byCurve] ?? 'ES256'
  return byKind[kind as keyof typeof byKind]
}
