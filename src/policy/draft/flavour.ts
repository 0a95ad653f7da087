import type { Claims } from '../../identity/identity.ts'
import { platforms } from '../breadth/platforms.ts'
import type { IssuerPolicy } from '../issuer.ts'

type Flavour = IssuerPolicy['flavour']

/** The platform that seems to have written these claims: the owner of the issuer, or who alone writes such a claim. */
export function guessFlavour(claims: Claims): Flavour | undefined {
  const { iss, sub } = claims
  const owner = typeof iss === 'string' ? Object.entries(platforms).find(([, { owns }]) => owns?.(iss)) : undefined
  if (owner !== undefined) return owner[0] as Flavour
  if (Object.hasOwn(claims, 'kubernetes.io')) return 'kubernetes'
  return typeof sub === 'string' && sub.startsWith('spiffe://') ? 'spiffe' : undefined
}

/** Platforms that run jobs. */
export const pipelines: ReadonlySet<Flavour> = new Set([
  'github-actions',
  'gitlab',
  'terraform',
  'buildkite',
  'circleci',
])
