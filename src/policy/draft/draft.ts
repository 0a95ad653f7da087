import { parseSpiffeId } from '../../base/spiffe-id.ts'
import type { Claim, Claims } from '../../identity/identity.ts'
import { breadthProblems } from '../breadth/breadth.ts'
import type { BreadthProblem } from '../breadth/platform.ts'
import { type IssuerPolicy, issuerSchema } from '../issuer.ts'
import { claimRules } from '../match.ts'
import { pipelines } from './flavour.ts'
import { isPlain, matchOf, type PinnedClaim, pinnedClaims, recyclableClaims } from './pinned.ts'

/** What a person says of the workload; what is not said is `null` in the draft, and the loader refuses it until it is. */
export interface DraftAnswers {
  readonly name?: string | undefined
  readonly owner?: string | undefined
  readonly backup?: string | undefined
  readonly custodian?: string | undefined
  readonly purpose?: string | undefined
  readonly because?: string | undefined
  readonly environment?: string | undefined
  readonly credentials: readonly string[]
}

/** A token taken apart, and the Issuer it is read under. */
export interface DraftToken {
  readonly header: Claims
  readonly claims: Claims
  /** The Issuer in force; absent when it is to be drafted as well, under that name and flavour. */
  readonly issuer?: IssuerPolicy
  readonly named: { readonly name: string; readonly flavour: IssuerPolicy['flavour'] }
}

/** Documents in the form of policy files, and what to look at before they are signed off. */
export interface Draft {
  readonly documents: readonly Readonly<Record<string, unknown>>[]
  readonly warnings: readonly string[]
}

/** Drafts the tightest Workload for a token. Pure; whether the token is genuine is not looked at. */
export function draftWorkload(token: DraftToken, answers: DraftAnswers): Draft {
  const { flavour } = token.issuer ?? token.named
  const drafted = token.issuer === undefined ? issuerDocument(token, answers.environment) : undefined
  const { claims: pinned, warnings } = pinnedClaims(flavour, token.claims)
  const match = matchOf(pinned)
  const issuer = token.issuer ?? issuerSchema.safeParse({ ...drafted, environment: undefined }).data
  const traps = issuer === undefined ? [] : breadthProblems({ rules: claimRules(match), issuer, production: false })
  const workload = {
    kind: 'Workload',
    name: answers.name ?? null,
    type: pipelines.has(flavour) ? 'pipeline' : 'service',
    system: answers.name ?? null,
    owner: answers.owner ?? null,
    backup: answers.backup ?? null,
    custodian: answers.custodian ?? null,
    // It gets nothing until somebody who answers for it says so.
    status: 'proposed',
    match: { issuer: issuer?.name ?? token.named.name, claims: match },
    purposes: [
      {
        id: answers.purpose ?? null,
        because: answers.because ?? null,
        environment: answers.environment ?? fixedEnvironment(token.issuer) ?? null,
        credentials: answers.credentials.length === 0 ? null : answers.credentials,
        ttl: { max: '15m' },
      },
    ],
  }
  return {
    documents: drafted === undefined ? [workload] : [drafted, workload],
    warnings: [...warnings, ...recyclableOrWide(flavour, pinned, traps)],
  }
}

/** What the loader says of a claim of the match is better than what holds of the claim in general; one line for each claim. */
function recyclableOrWide(
  flavour: IssuerPolicy['flavour'],
  pinned: readonly PinnedClaim[],
  traps: readonly BreadthProblem[],
): readonly string[] {
  const labelOf = ({ path }: BreadthProblem): string | undefined => path?.join('/')
  const claims = new Set(pinned.map(({ path }) => path.join('/')))
  const told = traps.filter((trap) => trap.severity === 'error' || claims.has(labelOf(trap) ?? ''))
  const labels = new Set(told.map(labelOf))
  return [
    ...told.map((trap) => {
      const label = `\`${labelOf(trap)}\``
      const named = trap.path === undefined || trap.message.startsWith(label)
      return `${named ? '' : `${label}: `}${trap.message}; ${trap.fix}`
    }),
    ...recyclableClaims(flavour, pinned)
      .filter(({ path }) => !labels.has(path.join('/')))
      .map(({ warning }) => warning),
  ]
}

const fixedEnvironment = (issuer: IssuerPolicy | undefined): string | undefined =>
  typeof issuer?.environment === 'string' ? issuer.environment : undefined

const secondsAMinute = 60

/** A claim that fits the field of an Issuer, or nothing. */
function plain(field: 'url' | 'audience', claim: Claim | undefined): unknown {
  const fits =
    issuerSchema.shape[field].safeParse(claim).success && [claim].flat().every((text) => isPlain(String(text)))
  return fits ? (claim ?? null) : null
}

function issuerDocument(
  { header, claims, named }: DraftToken,
  environment: string | undefined,
): Record<string, unknown> {
  const { iss, aud, iat, exp, sub } = claims
  const domain = named.flavour === 'spiffe' ? parseSpiffeId(String(sub))?.trustDomain : undefined
  const url = iss === undefined && domain !== undefined ? `spiffe://${domain}` : plain('url', iss)
  const algorithms = issuerSchema.shape.algorithms.safeParse([header.alg]).data
  const life = typeof iat === 'number' && typeof exp === 'number' ? exp - iat : Number.NaN
  const minutes = `${Math.ceil(life / secondsAMinute)}m`
  return {
    kind: 'Issuer',
    name: named.name,
    flavour: named.flavour,
    url,
    ...(domain !== undefined && { trust_domain: domain }),
    audience: plain('audience', aud),
    algorithms: algorithms ?? null,
    // A trust domain has a bundle somewhere, and no discovery document.
    keys: typeof url === 'string' && url.startsWith('spiffe:') ? { jwks_url: null } : { discovery: true },
    ...(life > 0 && life <= 24 * 3600 && { token: { max_age: minutes, max_life: minutes } }),
    environment: environment ?? null,
  }
}
