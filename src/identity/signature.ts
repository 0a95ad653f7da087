import { type CryptoKey, compactVerify } from 'jose'
import { type Finding, failed, passed, shown } from './check.ts'
import type { Claims } from './identity.ts'
import type { Algorithm } from './jwks.ts'
import type { KeyCache, KeysNow } from './keys.ts'

/** What a look at a signature found, and the key that made it; none when it was refused. */
interface SignatureCheck {
  readonly findings: readonly Finding[]
  readonly key?: CryptoKey
}

/**
 * Whether a key of the issuer made the signature (RFC 7515 section 5.2). The header has passed its checks: `alg` is one the
 * Issuer lists. Without `kid`, exactly one key must fit. Finds `state_unavailable` when the issuer's keys are not there.
 * `madeBy` is the key that this token was found to be signed with before: while it is still the one that fits, that stands.
 */
export async function checkSignature(
  token: string,
  header: Claims,
  keys: KeyCache,
  madeBy?: CryptoKey,
): Promise<SignatureCheck> {
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
    return { findings: [{ ...failed('state_unavailable', 'key', detail), retryAfterSeconds: known.retryAfterSeconds }] }
  }
  const named = kid === undefined ? 'no kid' : `kid ${shown(kid)}`
  const [key, another] = fitting
  if (key === undefined) {
    return { findings: [failed('token_invalid', 'key', `${named}: the issuer has no such key for ${algorithm}`)] }
  }
  if (another !== undefined) {
    return { findings: [failed('token_invalid', 'key', `${named}: more than one key of the issuer fits ${algorithm}`)] }
  }
  const one = passed('key', `${named}: one key of the issuer fits ${algorithm}`)
  // The library's errors may hold parts of the token; nothing of them is kept.
  if (key !== madeBy && !(await isSigned(token, key, algorithm))) {
    return { findings: [one, failed('token_invalid', 'signature', 'not made by that key')] }
  }
  return { findings: [one, passed('signature', `made by that key with ${algorithm}`)], key }
}

const find = (known: KeysNow, algorithm: Algorithm, kid: string | undefined): readonly CryptoKey[] =>
  known.available ? known.keys.find(algorithm, kid) : []

const isSigned = (token: string, key: CryptoKey, algorithm: Algorithm): Promise<boolean> =>
  compactVerify(token, key, { algorithms: [algorithm] }).then(
    () => true,
    () => false,
  )
