import { createHash } from 'node:crypto'
import { type CryptoKey, compactVerify } from 'jose'
import type { Clock } from '../base/clock.ts'
import { sha256Hex } from '../base/digest.ts'
import { ok, type Result } from '../base/result.ts'
import type { State } from '../state/state.ts'
import { type Finding, failed, passed, shown } from './check.ts'
import { difference, isTime } from './checks.ts'
import type { Holder } from './holder.ts'
import type { Claim, Claims, Identity } from './identity.ts'
import { isObject } from './jwks.ts'
import { proofKeyOf } from './proof-key.ts'
import { normalTargetUri } from './target-uri.ts'
import { isMalformed, takeApart } from './token.ts'
import { createTrail } from './trail.ts'

/** Greatest length of a proof, in characters; twice what one with an RSA key of 4096 bits needs. */
export const maxProofLength = 8 * 1024
const longestJti = 256
/** How old (seconds by `iat`) a proof may be, and how far ahead its clock. */
const maxAgeSeconds = 60
const maxAheadSeconds = 5

/** What a request says about the key of its caller, unverified. */
export interface SentProof {
  /** The `DPoP` header; empty where the scheme is `DPoP` and the header is missing. */
  readonly text: string
  readonly method: string
  /** The path as it was sent, without a query. */
  readonly path: string
}

/** Finds out which key a caller holds. */
export interface Proofs {
  /**
   * The key that the caller of this request holds, if its proof meets every rule of RFC 9449 section 4.3; `undefined` without a proof. A
   * token that is bound to a key (`cnf.jkt`, section 6.1) needs a proof by that key; `cnf` of other methods is passed over, as RFC 7800
   * section 3.1 asks. A `nonce` is never demanded, so one that is there says nothing. Each proof is good for one request.
   * Refuses `proof_invalid`. @throws BrokerFault `state_unavailable`
   */
  check(
    sent: SentProof | undefined,
    token: string,
    identity: Pick<Identity, 'claims'>,
  ): Promise<Result<Holder | undefined>>
}

interface Deps {
  /** The public URL of the broker, without a slash at its end. */
  readonly url: string
  readonly state: Pick<State, 'claim'>
  readonly clock: Clock
}

export function createProofs({ url, state, clock }: Deps): Proofs {
  return {
    async check(sent, token, { claims: { cnf } }) {
      const bound = isObject(cnf) && Object.hasOwn(cnf, 'jkt') ? { jkt: cnf.jkt } : undefined
      if (sent === undefined && bound === undefined) return ok(undefined)
      const trail = createTrail()
      if (trail.stops(presence(sent))) return trail.refusal().result
      const { text, method, path } = sent ?? absent
      const parts = takeApart(text)
      if (isMalformed(parts)) return trail.refuse(wrong('proof.form', parts.problem)).result
      const { header, claims } = parts
      if (trail.stops(type(header.typ), extensions(header))) return trail.refusal().result
      const { finding, found } = await proofKeyOf(header)
      if (trail.stops(finding) || found === undefined) return trail.refusal().result
      const { holder } = found
      if (trail.stops(await signature(text, found.key, found.algorithm))) return trail.refusal().result
      const findings = [
        tokenId(claims.jti),
        sameText('proof.method', 'htm', claims.htm, method),
        target(claims.htu, `${url}${path}`),
        age(claims.iat, clock.now() / 1000),
        sameText('proof.token', 'ath', claims.ath, createHash('sha256').update(token).digest('base64url')),
        bound === undefined ? undefined : sameText('proof.binding', 'the thumbprint', holder.jkt, bound.jkt),
      ]
      if (trail.stops(...findings)) return trail.refusal().result
      // Last, so that only a proof that is good in every other way takes memory.
      const key = `proof:${sha256Hex(JSON.stringify([holder.jkt, claims.jti]))}`
      const untilMs = Math.ceil((Number(claims.iat) + maxAgeSeconds + 2 * maxAheadSeconds) * 1000)
      if (await state.claim(key, untilMs)) return ok(holder)
      return trail.refuse(wrong('proof.replay', 'the proof was used before')).result
    },
  }
}

const wrong = (rule: string, detail: string): Finding => failed('proof_invalid', rule, detail)
const absent: SentProof = { text: '', method: '', path: '' }

function presence(sent: SentProof | undefined): Finding {
  if (sent === undefined) return wrong('proof', 'the token is bound to a key, and there is no proof')
  if (sent.text === '') return wrong('proof', 'the scheme is DPoP, and there is no DPoP header')
  return sent.text.length <= maxProofLength
    ? passed('proof', 'there is one')
    : wrong('proof.size', `${sent.text.length} characters; at most ${maxProofLength} are read`)
}

/** No other kind of JWT is taken for a proof (RFC 8725 section 3.11). */
function type(typ: Claim | undefined): Finding {
  const name = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : ''
  return name === 'dpop+jwt' ? passed('proof.type', name) : wrong('proof.type', `typ ${shown(typ)} is not dpop+jwt`)
}

/** The header asks for no other way of reading, and for no key from elsewhere (RFC 8725 section 3.10). */
function extensions(header: Claims): Finding | undefined {
  const found = ['crit', 'b64', 'jku', 'x5u', 'x5c'].find((name) => Object.hasOwn(header, name))
  return found === undefined ? undefined : wrong('proof.headers', `${found} is never honoured`)
}

const signature = (text: string, key: CryptoKey, algorithm: string): Promise<Finding> =>
  compactVerify(text, key, { algorithms: [algorithm] }).then(
    () => passed('proof.signature', 'made by that key'),
    // The library's errors may hold parts of the proof; nothing of them is kept.
    () => wrong('proof.signature', 'not made by that key'),
  )

const tokenId = (jti: Claim | undefined): Finding =>
  typeof jti === 'string' && jti !== '' && jti.length <= longestJti
    ? passed('proof.id', 'jti is there')
    : wrong('proof.id', `jti is not text of 1 to ${longestJti} characters`)

const sameText = (rule: string, name: string, given: Claim | undefined, wanted: Claim | undefined): Finding =>
  typeof given === 'string' && given === wanted
    ? passed(rule, `${name} fits`)
    : wrong(rule, `${name} is ${shown(given)}, and ${shown(wanted)} is needed`)

function target(htu: Claim | undefined, called: string): Finding {
  const wanted = normalTargetUri(called)
  return typeof htu === 'string' && wanted !== undefined && normalTargetUri(htu) === wanted
    ? passed('proof.target', `htu is ${shown(wanted)}`)
    : wrong('proof.target', `htu is ${shown(htu)}, and ${shown(called)} was called`)
}

function age(iat: Claim | undefined, nowSeconds: number): Finding {
  if (!isTime(iat)) return wrong('proof.age', `iat is not a time: ${shown(iat)}`)
  if (iat > nowSeconds + maxAheadSeconds) return wrong('proof.age', `made ${difference(iat - nowSeconds)} ahead`)
  return nowSeconds - iat <= maxAgeSeconds
    ? passed('proof.age', `at most ${maxAgeSeconds} s old`)
    : wrong('proof.age', `made ${difference(nowSeconds - iat)} ago; at most ${maxAgeSeconds} s`)
}
