import { isSpiffeSegment } from '../../base/spiffe-id.ts'
import type { IssuerPolicy } from '../issuer.ts'
import type { BreadthProblem, IssuerProblem, MatchLook, Platform } from './platform.ts'

const scheme = 'spiffe://'
const conventional: ReadonlySet<string> = new Set(['ns', 'sa'])

/** JWT-SVIDs (see `identity/flavours/spiffe.ts`). */
export const spiffe: Platform = {
  forms: ['spiffe', ...conventional],
  recyclable: {},
  pins: [{ labels: ['sub'] }],
  owns: (url) => url.startsWith('spiffe://'),
  issuer: ofIssuer,
  match: breadth,
}

function ofIssuer({ algorithms, keys, trust_domain: domain, url }: IssuerPolicy): readonly IssuerProblem[] {
  const problems: IssuerProblem[] = []
  if (domain === undefined) {
    problems.push({
      severity: 'error',
      path: ['flavour'],
      message: 'a spiffe issuer speaks for one trust domain, and this one names none',
      fix: 'add trust_domain, such as example.org',
    })
  } else if (url.startsWith(scheme) && url !== scheme + domain) {
    problems.push({
      severity: 'error',
      path: ['url'],
      message: 'the url is that of another trust domain',
      fix: `write ${scheme}${domain}, or the \`iss\` of its SVIDs`,
    })
  }
  if ('discovery' in keys && url.startsWith(scheme)) {
    problems.push({
      severity: 'error',
      path: ['keys'],
      message: 'a trust domain has no discovery document',
      fix: 'write keys: { jwks_url: … } with the URL of its trust bundle',
    })
  }
  algorithms.forEach((name, at) => {
    if (!/^(?:RS|PS|ES)/.test(name)) {
      problems.push({
        severity: 'error',
        path: ['algorithms', at],
        message: `no JWT-SVID is signed with ${name}`,
        fix: 'use RS, PS or ES with 256, 384 or 512',
      })
    }
  })
  return problems
}

function breadth({ rules, issuer }: MatchLook): readonly BreadthProblem[] {
  const sub = rules.find(({ label }) => label === 'sub')
  const at = (severity: 'error' | 'warning', message: string, fix: string): readonly BreadthProblem[] => [
    { severity, path: sub?.path, message, fix },
  ]
  const own = `${scheme}${issuer.trust_domain ?? 'TRUST-DOMAIN'}/`
  if (sub === undefined) {
    return at('error', 'the match does not name the SPIFFE ID, which alone is a workload', `add sub: ${own}…`)
  }
  const pattern = String(sub.pattern)
  if (!pattern.startsWith(own)) {
    return at('error', 'the issuer signs no such SPIFFE ID, so no token fits', `start it with ${own}`)
  }
  const path = pattern.slice(own.length).split('/')
  if (!path.every((segment) => isSpiffeSegment(segment.replaceAll('*', 'x')))) {
    return at(
      'error',
      'this is not a SPIFFE ID, so no token fits',
      'write segments of letters, digits, dots, hyphens and _',
    )
  }
  if (path.every((segment) => segment === '*' || conventional.has(segment))) {
    return at('error', 'the match is so wide that any workload of the trust domain fits', 'write the path in full')
  }
  const [ns, namespace = '', sa] = path
  if (ns === 'ns' && sa === 'sa' && namespace.includes('*')) {
    const message = 'the match takes in any namespace, and whoever makes a namespace names its service accounts'
    return at('warning', message, 'write the namespace in full')
  }
  return []
}
