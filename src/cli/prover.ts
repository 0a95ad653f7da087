import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { calculateJwkThumbprint, compactDecrypt, importJWK, type JWK, SignJWT } from 'jose'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { IssuedCredential } from '../contract/credential.ts'
import { parseJson } from './broker-call.ts'
import { CommandError, exit, UsageError } from './command.ts'

/** Proves to a broker that a key is held, and opens what is encrypted to it. The private key stays in this process. */
export interface Prover {
  /** A proof for one request (RFC 9449 section 4.2); `url` may hold a query, which a proof leaves out. */
  proofFor(request: { readonly method: string; readonly url: string; readonly token: string }): Promise<string>
  /** The secret in an answer that was delivered `jwe`. @throws CommandError when it was not made for this key and this grant */
  open(issued: IssuedCredential): Promise<IssuedCredential['secret']>
}

const longestFile = 64 * 1024

/** A key that lives as long as this process. */
export const freshKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey

/** The private key in a file: a JWK or PEM. @throws UsageError when it holds none that can sign a proof */
export function readKey(file: string): KeyObject {
  const refused = (why: string, cause?: unknown): UsageError =>
    Object.assign(new UsageError(`--dpop-key ${file}: ${why}`), { cause })
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw refused(`it cannot be read: ${messageOf(error)}`)
  }
  if (text.length > longestFile) throw refused('it is too large for a key')
  try {
    const jwk = parseJson(text)
    const key = jwk === undefined ? createPrivateKey(text) : createPrivateKey({ key: jwk as JWK, format: 'jwk' })
    algorithmsOf(key.export({ format: 'jwk' }) as JWK)
    return key
  } catch {
    // What the library says may hold parts of the file.
    throw refused('it holds no private key (JWK, or PEM without a passphrase) of P-256, P-384, P-521, RSA or Ed25519')
  }
}

/** Whether secrets can be encrypted to that key. */
export const canDecrypt = (key: KeyObject): boolean => key.asymmetricKeyType !== 'ed25519'

interface Algorithms {
  readonly signs: string
  readonly decrypts: string
}

function algorithmsOf({ kty, crv }: JWK): Algorithms {
  const decrypts = 'ECDH-ES+A256KW'
  if (kty === 'RSA') return { signs: 'PS256', decrypts: 'RSA-OAEP-256' }
  switch (crv) {
    case 'P-256':
      return { signs: 'ES256', decrypts }
    case 'P-384':
      return { signs: 'ES384', decrypts }
    case 'P-521':
      return { signs: 'ES512', decrypts }
    case 'Ed25519':
      return { signs: 'EdDSA', decrypts: '' }
    default:
      throw new TypeError('a key of another kind')
  }
}

/** A prover with that key. */
export function createProver(key: KeyObject, clock: Pick<Clock, 'now'>): Prover {
  const jwk = key.export({ format: 'jwk' }) as JWK
  const { signs, decrypts } = algorithmsOf(jwk)
  const { kty, crv, x, y, n, e } = jwk
  const shown = Object.fromEntries(Object.entries({ kty, crv, x, y, n, e }).filter(([, value]) => value !== undefined))
  return {
    async proofFor({ method, url, token }) {
      const { origin, pathname } = new URL(url)
      const ath = createHash('sha256').update(token).digest('base64url')
      return new SignJWT({ jti: randomUUID(), htm: method, htu: `${origin}${pathname}`, ath })
        .setProtectedHeader({ typ: 'dpop+jwt', alg: signs, jwk: shown })
        .setIssuedAt(Math.floor(clock.now() / 1000))
        .sign(await importJWK(jwk, signs))
    },
    async open({ grant, secret }) {
      const unreadable = (why: string): CommandError =>
        new CommandError(exit.fault, `the secret of ${grant} cannot be opened: ${why}`)
      if (typeof secret.jwe !== 'string') throw unreadable('it is no JWE')
      const opened = await compactDecrypt(secret.jwe, await importJWK(jwk, decrypts), {
        keyManagementAlgorithms: [decrypts],
        contentEncryptionAlgorithms: ['A256GCM'],
      }).catch(() => undefined)
      if (opened === undefined) throw unreadable('it is not encrypted to this key')
      const { kid, grant: named } = opened.protectedHeader
      if (named !== grant || kid !== (await calculateJwkThumbprint(jwk, 'sha256'))) {
        throw unreadable('it was made for another grant or key')
      }
      const fields = parseJson(new TextDecoder().decode(opened.plaintext))
      if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) throw unreadable('it holds no fields')
      return fields as IssuedCredential['secret']
    },
  }
}
