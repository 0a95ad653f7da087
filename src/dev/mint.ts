import { randomUUID } from 'node:crypto'
import { parseDuration } from '../base/duration.ts'
import { nearest } from '../base/nearest.ts'
import type { Claim } from '../identity/identity.ts'
import type { PolicySet } from '../policy/compile.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import { fillPattern, layer, type MutableClaims, setClaim, shapeFor } from './claims.ts'

/** What a token is asked to be. */
export interface TokenOrder {
  /** A workload or a member of a team; without it the claims below are all there is. */
  readonly as?: string
  /** Laid over what the workload or person brings; names as `setClaim` reads them. */
  readonly claims?: Readonly<Record<string, Claim>>
  readonly ttlSeconds?: number
  readonly iss?: string
}

/** What will be signed, and with which algorithm. */
export interface Unsigned {
  readonly claims: MutableClaims
  readonly algorithm: string
}

/** The order cannot be met; the message says what to ask for instead. */
export class TokenOrderError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'TokenOrderError'
  }
}

const standardSeconds = 300

/** What the development issuer can sign with, the first being its own choice. */
const signingAlgorithms = [
  'ES256',
  'RS256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
  'PS256',
  'PS384',
  'PS512',
  'RS384',
  'RS512',
] as const

/** Whether the keys of an issuer come from the network, so that in `writ dev` they come from its own issuer. */
export const isSignedHere = ({ keys }: IssuerPolicy): boolean => 'discovery' in keys || 'jwks_url' in keys

/** The algorithm that this issuer accepts and we prefer. */
export function algorithmFor({ algorithms }: IssuerPolicy): string {
  return signingAlgorithms.find((name) => (algorithms as readonly string[]).includes(name)) ?? 'ES256'
}

/** A claim that makes the issuer's `environment` rule come out as that of the workload's first purpose that it can. */
function environmentClaim({ environment }: IssuerPolicy, wanted: readonly string[]): MutableClaims {
  if (environment === undefined || typeof environment === 'string') return {}
  const texts = wanted.map((name) => Object.entries(environment.map).find(([, mapped]) => mapped === name)?.[0])
  const text = texts.find((each) => each !== undefined)
  return text === undefined ? {} : { [environment.claim]: text }
}

interface Bearer {
  readonly issuer: IssuerPolicy
  readonly claims: MutableClaims
}

function workloadClaims(set: PolicySet, name: string): Bearer | undefined {
  const workload = set.byName.workload.get(name)
  const issuer = workload === undefined ? undefined : set.byName.issuer.get(workload.policy.match.issuer)?.policy
  if (workload === undefined || issuer === undefined) return undefined
  const { match, purposes } = workload.policy
  const asked = fillPattern(match.claims) as MutableClaims
  const environments = purposes.map((purpose) => purpose.environment)
  return { issuer, claims: shapeFor(issuer, layer(environmentClaim(issuer, environments), asked)) }
}

function personClaims(set: PolicySet, subject: string): Bearer | undefined {
  const member = set.teams.flatMap((team) => team.members).find((candidate) => candidate.subject === subject)
  const issuer = member === undefined ? undefined : set.byName.issuer.get(member.issuer)?.policy
  return issuer === undefined ? undefined : { issuer, claims: { sub: subject, ...environmentClaim(issuer, []) } }
}

function bearerOf(set: PolicySet, name: string): Bearer {
  const bearer = workloadClaims(set, name) ?? personClaims(set, name)
  if (bearer !== undefined) return bearer
  const people = set.teams.flatMap((team) => team.members.map((member) => member.subject))
  const guess = nearest(name, [...set.byName.workload.keys(), ...people])
  throw new TokenOrderError(
    `the policies hold no workload and no team member "${name}"${guess === undefined ? '' : `; did you mean ${guess}?`}`,
  )
}

function lifeFor(issuer: IssuerPolicy | undefined, asked: number | undefined): number {
  if (asked !== undefined) return asked
  const most = issuer?.token.max_life === undefined ? undefined : parseDuration(issuer.token.max_life)
  return Math.min(standardSeconds, most ?? standardSeconds)
}

/**
 * The claims of a token that the policies accept for this workload or person, or of any other token.
 * @throws TokenOrderError when there is no such workload or person, or its issuer has keys of its own
 */
export function composeToken(order: TokenOrder, set: PolicySet, own: { url: string; nowMs: number }): Unsigned {
  const bearer = order.as === undefined ? undefined : bearerOf(set, order.as)
  const named = order.iss === undefined ? undefined : set.issuers.find((issuer) => issuer.url === order.iss)
  const issuer = named ?? bearer?.issuer
  if (issuer !== undefined && !isSignedHere(issuer)) {
    throw new TokenOrderError(`the issuer ${issuer.name} has keys of its own, so this issuer cannot sign for it`)
  }
  const iat = Math.floor(own.nowMs / 1000)
  const audience = Array.isArray(issuer?.audience) ? issuer.audience[0] : issuer?.audience
  let claims: MutableClaims = {
    iss: order.iss ?? issuer?.url ?? own.url,
    ...(audience === undefined ? {} : { aud: issuer?.flavour === 'kubernetes' ? [audience] : audience }),
    iat,
    nbf: iat,
    exp: iat + lifeFor(issuer, order.ttlSeconds),
    jti: randomUUID(),
    ...bearer?.claims,
  }
  for (const [name, value] of Object.entries(order.claims ?? {})) claims = setClaim(claims, name, value)
  return { claims, algorithm: issuer === undefined ? 'ES256' : algorithmFor(issuer) }
}
