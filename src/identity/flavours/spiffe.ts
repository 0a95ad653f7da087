import { parseSpiffeId } from '../../base/spiffe-id.ts'
import { type Finding, failed, passed, shown } from '../check.ts'
import type { Claims } from '../identity.ts'
import type { Flavour } from './flavour.ts'

// JWT-SVID section 2.1.
const algorithms = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'PS256', 'PS384', 'PS512'] as const
// JWT-SVID section 2: any header that it does not describe must not be there.
const headers = ['alg', 'kid', 'typ'] as const

/**
 * JWT-SVIDs (SPIFFE standards, `JWT-SVID.md`). `sub` is the SPIFFE ID of a workload of the trust domain that the Issuer names:
 * an authority speaks for no other one. Tokens that are bound to a key (WIT-SVIDs, or a `cnf` claim) are refused, because
 * nothing here asks for proof that their bearer holds it. SPIFFE names no unit of work.
 */
export const spiffe: Flavour = {
  name: 'spiffe',
  types: ['jwt', 'jose'],
  header(header) {
    const other = Object.keys(header).find((name) => !headers.some((known) => known === name))
    if (other !== undefined) return failed('token_invalid', 'spiffe.header', `a JWT-SVID has no header ${shown(other)}`)
    const { alg, typ } = header
    if (!algorithms.some((known) => known === alg)) {
      return failed('token_invalid', 'spiffe.header', `no JWT-SVID is signed with ${shown(alg)}`)
    }
    return typ === undefined || typ === 'JWT' || typ === 'JOSE'
      ? passed('spiffe.header', 'nothing but what a JWT-SVID may have')
      : failed('token_invalid', 'spiffe.header', `typ ${shown(typ)} is neither JWT nor JOSE`)
  },
  check: (claims, { trust_domain: domain }) => [subject(claims, domain), bearer(claims)],
  run: () => undefined,
}

function subject({ sub }: Claims, domain: string | undefined): Finding {
  const rule = 'spiffe.subject'
  const id = parseSpiffeId(String(sub))
  if (id === undefined) return failed('token_invalid', rule, `${shown(sub)} is not a SPIFFE ID`)
  if (id.trustDomain !== domain) {
    const wanted = `the Issuer speaks for ${shown(domain)}`
    return failed('token_invalid', rule, `${shown(sub)} is of the trust domain ${shown(id.trustDomain)}; ${wanted}`)
  }
  return id.path.length === 0
    ? failed('token_invalid', rule, 'sub names the trust domain itself, not a workload of it')
    : passed(rule, 'sub is a SPIFFE ID of the trust domain')
}

function bearer({ cnf, aud }: Claims): Finding {
  const rule = 'spiffe.bearer'
  if (cnf !== undefined) return failed('token_invalid', rule, 'the token is bound to a key that nobody proved to hold')
  return Array.isArray(aud) && aud.length > 1
    ? passed(rule, 'it has several audiences, each of which could present it here')
    : passed(rule, 'it is for one audience')
}
