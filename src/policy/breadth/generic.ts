import { awsIssuer } from '../../base/aws-issuer.ts'
import { readEntraIssuer } from '../../base/entra-issuer.ts'
import type { IssuerPolicy } from '../issuer.ts'
import type { IssuerProblem, Platform } from './platform.ts'

/** Issuers without a platform of their own. The ones below sign for people as well, or for many tenants with one key. */
export const generic: Platform = { forms: [], recyclable: {}, issuer: unheldPlatform }

function unheldPlatform({ url, audience }: IssuerPolicy): readonly IssuerProblem[] {
  const flavour = audience === undefined ? undefined : platformOf(url)
  if (flavour === undefined) return []
  return [
    {
      severity: 'warning',
      path: ['flavour'],
      message: `the rules of ${flavour} are not applied to its tokens, so those of people and other traps get through`,
      fix: `write flavour: ${flavour}`,
    },
  ]
}

function platformOf(url: string): IssuerPolicy['flavour'] | undefined {
  if (url === 'https://accounts.google.com') return 'google'
  if (url.startsWith('spiffe://')) return 'spiffe'
  if (readEntraIssuer(url) !== undefined) return 'azure'
  return awsIssuer(url) === undefined ? undefined : 'aws'
}
