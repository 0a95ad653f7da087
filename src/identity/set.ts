import type { Clock } from '../base/clock.ts'
import { sha256Hex } from '../base/digest.ts'
import { parseDuration } from '../base/duration.ts'
import { ok, type Result } from '../base/result.ts'
import type { IssuerPolicy, SignalsPolicy } from '../policy/issuer.ts'
import { type Finding, failed, passed, shown } from './check.ts'
import { difference, expiry, headerChecks, isMeantFor, isTime, leewaySeconds, notBefore } from './checks.ts'
import type { Claims } from './identity.ts'
import type { Issuers } from './issuers.ts'
import { checkSignature } from './signature.ts'
import { isMalformed, takeApart } from './token.ts'
import { createTrail } from './trail.ts'

declare const verified: unique symbol

/**
 * A security event token after every check passed. The brand means that only this file can make one, so what acts on signals
 * cannot be given unchecked claims. The claims are genuine and still the text of someone else.
 */
export interface SignedSet {
  readonly [verified]: true
  readonly issuer: IssuerPolicy
  readonly signals: SignalsPolicy
  readonly claims: Claims
  /** SHA-256 (hex) of the JSON list `[iss, jti]`: names the SET without holding it. */
  readonly fingerprint: string
  readonly issuedAtMs: number
  /** Clock difference that this issuer is forgiven. */
  readonly leewayMs: number
  /** From when on no clock accepts this SET any more; until then its use is remembered. */
  readonly usableUntilMs: number
}

const longestJti = 512

/** How long (seconds) after it was received a SET of this issuer may still be accepted by some clock. */
export const setLifeSeconds = (issuer: IssuerPolicy): number =>
  (parseDuration(issuer.signals?.max_age ?? '') ?? 0) + 2 * leewaySeconds(issuer)

/**
 * The checks a SET goes through, in order, up to the first that refuses it (RFC 8417 section 2 and 4, SSF 1.0 section 4.1, RFC
 * 8725 section 3). Refuses with `token_invalid`, `issuer_unknown`, `audience_mismatch`, `token_too_old`, `token_not_yet_valid`,
 * `token_expired`, and `state_unavailable` when the keys of the issuer are not there. Whether it came before is not looked at.
 */
export function createSetVerifier(issuers: Issuers, clock: Clock): (text: string) => Promise<Result<SignedSet>> {
  return async (text) => {
    const trail = createTrail()
    const parts = takeApart(text)
    if (isMalformed(parts)) return trail.refuse(failed('token_invalid', 'form', parts.problem)).result
    const { header, claims } = parts
    const issuer = typeof claims.iss === 'string' ? issuers.byUrl(claims.iss) : undefined
    if (issuer === undefined) {
      return trail.refuse(failed('issuer_unknown', 'issuer', `no Issuer has the url ${shown(claims.iss)}`)).result
    }
    const { policy, keys } = issuer
    const { signals } = policy
    trail.stops(passed('issuer', policy.name))
    if (signals === undefined) {
      return trail.refuse(failed('issuer_unknown', 'signals', `${policy.name} may not send signals`)).result
    }

    const before = { header, claims, issuer: policy, nowSeconds: clock.now() / 1000 }
    if (trail.stopsAt(headerChecks, before) || trail.stops(type(header.typ))) return trail.refusal().result
    const signature = await checkSignature(text, header, keys)
    if (trail.stops(...signature.findings)) return trail.refusal().result

    // From here on the claims are genuine. Time is read after the wait for keys, not before.
    const nowSeconds = clock.now() / 1000
    const input = { ...before, nowSeconds }
    const findings = [
      isMeantFor(signals.audience, claims),
      issuedAt(policy, claims, nowSeconds),
      // SSF 1.0 section 4.1.7 wants no `exp`; one that is there all the same is kept to.
      claims.exp === undefined ? undefined : expiry(input),
      notBefore(input),
      tokenId(claims.jti),
    ]
    if (trail.stops(...findings)) return trail.refusal().result
    const issuedAtMs = Math.floor(Number(claims.iat) * 1000)
    return ok({
      issuer: policy,
      signals,
      claims,
      fingerprint: sha256Hex(JSON.stringify([policy.url, claims.jti])),
      issuedAtMs,
      leewayMs: leewaySeconds(policy) * 1000,
      usableUntilMs: issuedAtMs + setLifeSeconds(policy) * 1000,
    } as unknown as SignedSet)
  }
}

/** No other kind of JWT is taken for a SET, nor a SET for another kind (RFC 8417 section 2.3, SSF 1.0 section 4.1.8). */
function type(typ: unknown): Finding {
  const name = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : ''
  return name === 'secevent+jwt'
    ? passed('type', name)
    : failed('token_invalid', 'type', `typ ${shown(typ)} is not secevent+jwt`)
}

/** `iat` is there (RFC 8417 section 2.2), not in the future, and at most `max_age` ago. */
function issuedAt(issuer: IssuerPolicy, { iat }: Claims, nowSeconds: number): Finding {
  if (!isTime(iat)) return failed('token_invalid', 'issued_at', `iat is not a time: ${shown(iat)}`)
  const leeway = leewaySeconds(issuer)
  const age = nowSeconds - iat
  if (age < -leeway) return failed('token_not_yet_valid', 'issued_at', `iat is ${difference(age)} ahead`)
  const limit = issuer.signals?.max_age ?? '0s'
  return age <= (parseDuration(limit) ?? 0) + leeway
    ? passed('issued_at', `at most ${limit} old`)
    : failed('token_too_old', 'issued_at', `issued ${difference(age)} ago; at most ${limit} is trusted`)
}

const tokenId = (jti: unknown): Finding =>
  typeof jti === 'string' && jti !== '' && jti.length <= longestJti
    ? passed('token_id', 'jti is there')
    : failed('token_invalid', 'token_id', `jti is not text of at most ${longestJti} characters`)
