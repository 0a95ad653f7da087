import { parseDuration } from '../base/duration.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import { type Finding, failed, passed, shown } from './check.ts'
import type { Claims } from './identity.ts'

/** What every check of a token may look at; `nowSeconds` keeps its fraction. */
export interface CheckInput {
  readonly header: Claims
  readonly claims: Claims
  readonly issuer: IssuerPolicy
  readonly nowSeconds: number
}

/** A pure look at one rule. `undefined` when the Issuer has no such rule and the token nothing it could apply to. */
export type Check = (input: CheckInput) => Finding | undefined

const defaultLeewaySeconds = 30

/** Seconds of clock difference this issuer is forgiven. */
export function leewaySeconds(issuer: IssuerPolicy): number {
  const { leeway } = issuer.token
  return leeway === undefined ? defaultLeewaySeconds : (parseDuration(leeway) ?? 0)
}

/** The signature algorithm is one the Issuer lists; the list cannot hold `none` or HMAC (RFC 8725 section 3.1). */
const algorithm: Check = ({ header, issuer }) => {
  const { alg } = header
  return typeof alg === 'string' && issuer.algorithms.some((allowed) => allowed === alg)
    ? passed('algorithm', `${alg} is allowed`)
    : failed('token_invalid', 'algorithm', `${shown(alg)} is not one of ${issuer.algorithms.join(', ')}`)
}

// Each of them names a key, or a rule of reading, of the sender's choice.
const neverHonoured = ['crit', 'jku', 'jwk', 'x5u', 'x5c', 'b64'] as const

/** The header names no key and no extension of the sender's choice (RFC 8725 sections 3.5 and 3.10). */
const headers: Check = ({ header }) => {
  const found = neverHonoured.find((name) => Object.hasOwn(header, name))
  return found === undefined
    ? passed('headers', 'none that names a key or an extension')
    : failed('token_invalid', 'headers', `${found} is never honoured`)
}

/** `kid` is text where there is one (RFC 7515 section 4.1.4). */
const keyId: Check = ({ header }) =>
  header.kid === undefined || (typeof header.kid === 'string' && header.kid !== '')
    ? undefined
    : failed('token_invalid', 'key', 'kid is not text')

const subject: Check = ({ claims }) =>
  typeof claims.sub === 'string' && claims.sub !== ''
    ? passed('subject', shown(claims.sub))
    : failed('token_invalid', 'subject', 'there is no sub claim with text in it')

/** The token is meant for this broker (RFC 7519 section 4.1.3). */
const audience: Check = ({ claims, issuer }) => isMeantFor(issuer.audience ?? [], claims)

/** Whether `aud` names one of those that are wanted. */
export function isMeantFor(audience: string | readonly string[], claims: Claims): Finding {
  const wanted = typeof audience === 'string' ? [audience] : audience
  const given = typeof claims.aud === 'string' ? [claims.aud] : claims.aud === undefined ? [] : claims.aud
  if (!Array.isArray(given) || !given.every((one) => typeof one === 'string')) {
    return failed('token_invalid', 'audience', 'aud is neither text nor a list of texts')
  }
  const match = wanted.find((one) => given.includes(one))
  if (match !== undefined) return passed('audience', `the token is for ${shown(match)}`)
  const list = given.length === 0 ? 'nobody' : given.slice(0, 3).map(shown).join(', ')
  return failed('audience_mismatch', 'audience', `the token is for ${list}, not for ${wanted.map(shown).join(' or ')}`)
}

/** A NumericDate (RFC 7519 section 2) within reason. */
export const isTime = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= 1e11
/** How far apart two times are, in words. */
export const difference = (seconds: number): string => `${Math.round(Math.abs(seconds) * 1000) / 1000} s`

/** Not on or after `exp` (RFC 7519 section 4.1.4), which must be there. */
export const expiry: Check = ({ claims, issuer, nowSeconds }) => {
  const { exp } = claims
  if (!isTime(exp)) return failed('token_invalid', 'expiry', `exp is not a time: ${shown(exp)}`)
  return nowSeconds < exp + leewaySeconds(issuer)
    ? passed('expiry', nowSeconds < exp ? `${difference(exp - nowSeconds)} are left` : 'past it, within the leeway')
    : failed(
        'token_expired',
        'expiry',
        `exp was ${difference(nowSeconds - exp)} ago; leeway ${leewaySeconds(issuer)} s`,
      )
}

/** Not before `nbf` (RFC 7519 section 4.1.5), where there is one. */
export const notBefore: Check = ({ claims, issuer, nowSeconds }) => {
  const { nbf } = claims
  if (nbf === undefined) return undefined
  if (!isTime(nbf)) return failed('token_invalid', 'not_before', `nbf is not a time: ${shown(nbf)}`)
  return nowSeconds >= nbf - leewaySeconds(issuer)
    ? passed('not_before', 'nbf has passed')
    : failed('token_not_yet_valid', 'not_before', `nbf is ${difference(nbf - nowSeconds)} ahead`)
}

/** `iat` is not in the future, and is there when the Issuer limits the age. */
const issuedAt: Check = ({ claims, issuer, nowSeconds }) => {
  const { iat } = claims
  if (iat === undefined) {
    return issuer.token.max_age === undefined
      ? undefined
      : failed('token_invalid', 'issued_at', 'there is no iat, and the Issuer limits the age')
  }
  if (!isTime(iat)) return failed('token_invalid', 'issued_at', `iat is not a time: ${shown(iat)}`)
  return nowSeconds >= iat - leewaySeconds(issuer)
    ? passed('issued_at', 'iat has passed')
    : failed('token_not_yet_valid', 'issued_at', `iat is ${difference(iat - nowSeconds)} ahead`)
}

/** At most `max_age` since `iat`. */
const maxAge: Check = ({ claims, issuer, nowSeconds }) => {
  const limit = issuer.token.max_age
  if (limit === undefined || typeof claims.iat !== 'number') return undefined
  const age = nowSeconds - claims.iat
  return age <= (parseDuration(limit) ?? 0) + leewaySeconds(issuer)
    ? passed('max_age', `at most ${limit} old`)
    : failed('token_too_old', 'max_age', `issued ${difference(age)} ago; at most ${limit} is trusted`)
}

/** At most `max_life` until `exp`. */
const maxLife: Check = ({ claims, issuer, nowSeconds }) => {
  const limit = issuer.token.max_life
  if (limit === undefined || typeof claims.exp !== 'number') return undefined
  const left = claims.exp - nowSeconds
  return left <= (parseDuration(limit) ?? 0) + leewaySeconds(issuer)
    ? passed('max_life', `at most ${limit} are left`)
    : failed('token_too_old', 'max_life', `${difference(left)} are left; at most ${limit} is trusted`)
}

/** `jti` is text where there is one, and is there when the Issuer allows one use (RFC 7519 section 4.1.7). */
const tokenId: Check = ({ claims, issuer }) => {
  const { jti } = claims
  if (jti === undefined) {
    return issuer.token.replay === 'allow'
      ? undefined
      : failed('token_invalid', 'token_id', `there is no jti, and the Issuer says replay: ${issuer.token.replay}`)
  }
  return typeof jti === 'string' && jti !== ''
    ? passed('token_id', 'jti is there')
    : failed('token_invalid', 'token_id', 'jti is not text')
}

/** What the header must satisfy before any key is touched, in order. */
export const headerChecks: readonly Check[] = [algorithm, headers, keyId]

/** What genuine claims must satisfy, in order. */
export const claimChecks: readonly Check[] = [subject, audience, expiry, notBefore, issuedAt, maxAge, maxLife, tokenId]
