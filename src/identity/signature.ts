import { type CryptoKey, compactVerify } from 'jose'
import { type Finding, failed, passed, shown } from './check.ts'
import type { Claims } from './identity.ts'
import type { Algorithm } from './jwks.ts'
import type { KeyCache, KeysNow } from './keys.ts'

/**
 * Whether a key of the issuer made the signature (RFC 7515 section 5.2). The header has passed its checks: `alg` is one the
 * Issuer lists. Without `kid`, exactly one key must fit. Finds `state_unavailable` when the issuer's keys are not there.
 */
export async function checkSignature(token: string, header: Claims, keys: KeyCache): Promise<readonly Finding[]> {
  const algorithm = header.alg as Algorithm
  const kid = typeof header.kid === 'string' ? header.kid : undefined
  let known = await keys.now()
  let fitting = find(known, algorithm, kid)
  if (known.available && fitting.length === 0) {
    known = (await keys.lookAgain()) ?? known
    fitting = find(known, algorithm, kid)
  }
  if (!known.available) {
    const detail = `the keys of the issuer are not available: ${known.detail}`
    return [{ ...failed('state_unavailable', 'key', detail), retryAfterSeconds: known.retryAfterSeconds }]
  }
  const named = kid === undefined ? 'no kid' : `kid ${shown(kid)}`
  const [key, another] = fitting
  if (key === undefined)
    return [failed('token_invalid', 'key', `${named}: the issuer has no such key for ${algorithm}`)]
  if (another !== undefined) {
    return [failed('token_invalid', 'key', `${named}: more than one key of the issuer fits ${algorithm}`)]
  }
  return [passed('key', `${named}: one key of the issuer fits ${algorithm}`), await verifyWith(token, key, algorithm)]
}

const find = (known: KeysNow, algorithm: Algorithm, kid: string | undefined): readonly CryptoKey[] =>
  known.available ? known.keys.find(algorithm, kid) : []

async function verifyWith(token: string, key: CryptoKey, algorithm: Algorithm): Promise<Finding> {
  try {
    await compactVerify(token, key, { algorithms: [algorithm] })
    return passed('signature', `made by that key with ${algorithm}`)
  } catch {
    // The library's errors may hold parts of the token; nothing of them is kept.
    return failed('token_invalid', 'signature', 'not made by that key')
  }
}
