import { parseSpiffeId } from '../base/spiffe-id.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'
import { shown } from './check.ts'
import type { Claims } from './identity.ts'

/** The Issuer documents by what a token may name them with. */
export interface Routes {
  readonly byUrl: ReadonlyMap<string, IssuerPolicy>
  /** The spiffe issuers of each trust domain that take tokens. */
  readonly byTrustDomain: ReadonlyMap<string, readonly IssuerPolicy[]>
}

/** Files the documents once, so that finding one costs the same however many there are. */
export function routesOf(issuers: readonly IssuerPolicy[]): Routes {
  const byUrl = new Map<string, IssuerPolicy>()
  const byTrustDomain = new Map<string, IssuerPolicy[]>()
  for (const issuer of issuers) {
    const { url, flavour, trust_domain: domain, audience } = issuer
    if (!byUrl.has(url)) byUrl.set(url, issuer)
    if (flavour !== 'spiffe' || domain === undefined || audience === undefined) continue
    const known = byTrustDomain.get(domain)
    if (known === undefined) byTrustDomain.set(domain, [issuer])
    else known.push(issuer)
  }
  return { byUrl, byTrustDomain }
}

/**
 * The Issuer document whose rules a token is held to; the claims are unproved, and prove nothing by this. `iss` decides where
 * there is one. A JWT-SVID need not have it (JWT-SVID section 3): then the trust domain of its `sub` decides, if exactly one
 * spiffe issuer speaks for that. Any other token without `iss` is nobody's.
 */
export function chosenBy(claims: Claims, routes: Routes): IssuerPolicy | { readonly nobody: string } {
  const { iss, sub } = claims
  if (iss !== undefined) {
    const named = typeof iss === 'string' ? routes.byUrl.get(iss) : undefined
    return named ?? { nobody: `no Issuer has the url ${shown(iss)}` }
  }
  const id = typeof sub === 'string' ? parseSpiffeId(sub) : undefined
  if (id === undefined) return { nobody: 'there is no iss, and sub is not a SPIFFE ID' }
  const domain = shown(id.trustDomain)
  const [only, ...others] = routes.byTrustDomain.get(id.trustDomain) ?? []
  if (only === undefined) return { nobody: `there is no iss, and no spiffe Issuer has the trust domain ${domain}` }
  if (others.length === 0) return only
  return { nobody: `there is no iss, and more than one Issuer has the trust domain ${domain}` }
}
