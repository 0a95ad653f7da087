import { awsIssuer } from '../../base/aws-issuer.ts'
import { readEntraIssuer } from '../../base/entra-issuer.ts'
import type { Claims } from '../../identity/identity.ts'
import type { IssuerPolicy } from '../issuer.ts'

type Flavour = IssuerPolicy['flavour']

/** What says whose token it is: its issuer, or a claim that no other platform writes. */
const marks: readonly (readonly [Flavour, (issuer: URL, claims: Claims) => boolean])[] = [
  // Clusters of EKS among them, whose tokens look like those of any other cluster.
  ['aws', (_, { iss }) => awsIssuer(String(iss)) !== undefined],
  ['kubernetes', (_, claims) => Object.hasOwn(claims, 'kubernetes.io')],
  ['spiffe', (_, { sub }) => typeof sub === 'string' && sub.startsWith('spiffe://')],
  ['github-actions', ({ hostname }) => hostname === 'token.actions.githubusercontent.com'],
  // GitHub with data residency, and GitHub Enterprise Server.
  ['github-actions', ({ hostname }) => hostname.startsWith('token.actions.') && hostname.endsWith('.ghe.com')],
  ['github-actions', ({ pathname }) => pathname === '/_services/token'],
  ['gitlab', ({ hostname }) => hostname === 'gitlab.com'],
  ['terraform', ({ hostname }) => hostname === 'app.terraform.io'],
  ['buildkite', ({ hostname }) => hostname === 'agent.buildkite.com'],
  ['circleci', ({ hostname }) => hostname === 'oidc.circleci.com'],
  ['google', ({ hostname }) => hostname === 'accounts.google.com'],
  ['azure', (_, { iss }) => readEntraIssuer(String(iss)) !== undefined],
]

/** The platform that seems to have written these claims; `undefined` when nothing says so. */
export function guessFlavour(claims: Claims): Flavour | undefined {
  const issuer = URL.parse(String(claims.iss)) ?? new URL('about:blank')
  return marks.find(([, fits]) => fits(issuer, claims))?.[0]
}

/** Platforms that run jobs. */
export const pipelines: ReadonlySet<Flavour> = new Set([
  'github-actions',
  'gitlab',
  'terraform',
  'buildkite',
  'circleci',
])
