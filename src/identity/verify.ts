import { sha256Hex } from '../base/digest.ts'
import { ok, type Reason, type Result } from '../base/result.ts'
import { type Finding, failed, passed, shown } from './check.ts'
import { type CheckInput, claimChecks, headerChecks, leewaySeconds } from './checks.ts'
import { environmentOf } from './environment.ts'
import type { Flavour } from './flavours/flavour.ts'
import type { Identity } from './identity.ts'
import { createIssuers, type IssuerStatus, type IssuersOptions } from './issuers.ts'
import { createSetVerifier, type SignedSet } from './set.ts'
import { checkSignature } from './signature.ts'
import { isMalformed, maxTokenLength, takeApart, type UnverifiedToken } from './token.ts'
import { createTokenMemory } from './token-memory.ts'
import { createTrail } from './trail.ts'

export type { IssuerStatus } from './issuers.ts'

/** The outcome with every check that led to it, in order, passes included; for `writ policy explain`. */
export interface Explanation {
  readonly result: Result<Identity>
  readonly reasons: readonly Reason[]
}

/** Turns tokens into identities. */
export interface Verifier {
  /**
   * Who presented the token, if every rule of its issuer is met (RFC 7519 section 7.2, RFC 8725). Refuses with
   * `token_missing`, `too_large`, `token_invalid`, `token_expired`, `token_not_yet_valid`, `token_too_old`, `issuer_unknown`,
   * `audience_mismatch`, and `state_unavailable` when the issuer's keys, or the review it asks for, are not there. Never throws. Whether the token was
   * used before is for `claimUse`.
   */
  verify(token: string): Promise<Result<Identity>>
  /** The same, with the whole trail. */
  explain(token: string): Promise<Explanation>
  /** The security event token, if an issuer that may send signals signed it and every rule of SETs is met; see `identity/set.ts`. */
  verifySet(text: string): Promise<Result<SignedSet>>
  /** Each issuer in force, and whether its tokens can be verified now. */
  status(): readonly IssuerStatus[]
  /** Loads keys now and keeps them fresh in the background. Without it, keys are loaded when first needed. */
  start(): void
  close(): void
}

/**
 * The checks a token goes through, in order, up to the first that refuses it. A token that was accepted before is not parsed
 * again, nor is its signature computed again while the key that made it stands; every other check is made each time.
 */
export function createVerifier(options: IssuersOptions): Verifier {
  const issuers = createIssuers(options)
  const memory = createTokenMemory()

  const explain = async (token: string): Promise<Explanation> => {
    const trail = createTrail()
    if (trail.stops(presence(token), size(token))) return trail.refusal()
    const known = memory.recall(token)
    const parts = known?.parts ?? takeApart(token)
    if (isMalformed(parts)) return trail.refuse(failed('token_invalid', 'form', parts.problem))
    const issuer = issuers.of(parts.claims)
    if ('nobody' in issuer) return trail.refuse(failed('issuer_unknown', 'issuer', issuer.nobody))
    const { policy, flavour, keys, review } = issuer
    trail.stops(passed('issuer', policy.name))
    if (policy.audience === undefined) {
      return trail.refuse(failed('issuer_unknown', 'issuer', `${policy.name} signs signals alone, and no tokens`))
    }
    const { header, claims } = parts

    const before = { header, claims, issuer: policy, nowSeconds: options.clock.now() / 1000 }
    if (trail.stopsAt(headerChecks, before) || trail.stops(type(header.typ, flavour), flavour.header?.(header))) {
      return trail.refusal()
    }
    const signature = await checkSignature(token, header, keys, known?.key)
    if (trail.stops(...signature.findings)) return trail.refusal()

    // From here on the claims are genuine. Time is read after the wait for keys, not before.
    const input = { ...before, nowSeconds: options.clock.now() / 1000 }
    if (trail.stopsAt(claimChecks, input) || trail.stops(...flavour.check(claims, policy))) return trail.refusal()
    if (review !== undefined && trail.stops(await review(token, claims))) return trail.refusal()
    const { key } = signature
    const comesAgain = policy.token.replay !== 'once'
    if (comesAgain && key !== undefined && key !== known?.key) memory.keep(token, { parts, key })
    const identity = makeIdentity(parts, input, flavour)
    trail.stops(passed('environment', shown(identity.environment)))
    return { result: ok(identity), reasons: trail.reasons }
  }

  return {
    explain,
    verify: async (token) => (await explain(token)).result,
    verifySet: createSetVerifier(issuers, options.clock),
    status: issuers.status,
    start: issuers.start,
    close: issuers.close,
  }
}

const presence = (token: string): Finding =>
  token === '' ? failed('token_missing', 'token', 'there is none') : passed('token', 'there is one')

const size = (token: string): Finding | undefined =>
  token.length <= maxTokenLength
    ? undefined
    : failed('too_large', 'size', `${token.length} characters; at most ${maxTokenLength} are read`)

/** The token says it is of a kind that this platform uses as a workload token (RFC 8725 section 3.11). */
function type(typ: unknown, flavour: Flavour): Finding {
  if (typ === undefined) return passed('type', 'the token does not say its type')
  const name = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : ''
  return flavour.types.includes(name)
    ? passed('type', name)
    : failed('token_invalid', 'type', `typ ${shown(typ)} is not one of ${flavour.types.join(', ')}`)
}

/** The one place where claims become an identity. Everything it reads has passed its check. */
function makeIdentity({ claims, signedPart }: UnverifiedToken, input: CheckInput, flavour: Flavour): Identity {
  const { issuer: policy, nowSeconds } = input
  const { sub, exp, iat, nbf, jti } = claims
  // A NumericDate may hold a fraction of a second (RFC 7519 section 2); milliseconds here are whole.
  const expiresAtMs = Math.floor(Number(exp) * 1000)
  const id = typeof jti === 'string' ? jti : undefined
  return Object.freeze({
    issuer: policy.name,
    issuerUrl: policy.url,
    flavour: flavour.name,
    subject: String(sub),
    claims,
    environment: environmentOf(policy.environment, claims),
    fingerprint: sha256Hex(id === undefined ? signedPart : JSON.stringify([policy.url, id])),
    jti: id,
    issuedAtMs: Math.floor(Number(iat ?? nbf ?? nowSeconds) * 1000),
    expiresAtMs,
    usableUntilMs: expiresAtMs + leewaySeconds(policy) * 1000,
    replay: policy.token.replay,
    run: flavour.run(claims),
  }) as Identity
}
