import { awsIssuer, awsNamespace, parseRoleArn } from '../base/aws-issuer.ts'
import { isEntraId, readEntraIssuer } from '../base/entra-issuer.ts'
import type { Claim } from '../identity/identity.ts'
import type { IssuerPolicy } from '../policy/issuer.ts'

type CloudClaims = Record<string, Claim>

const textOf = (value: Claim | undefined): string => (typeof value === 'string' ? value : '')

// Made up, and the same each time: a workload that starts again is still itself.
const someId = '00000000-0000-4000-8000-000000000001'
const someNumber = '100000000000000000001'

/** What a token of SPIFFE, Google, Azure or STS holds beside the claims asked for; `undefined` for other issuers. */
export function cloudClaims(issuer: IssuerPolicy, asked: CloudClaims): CloudClaims | undefined {
  if (issuer.flavour === 'spiffe') return { sub: `spiffe://${issuer.trust_domain}/example` }
  if (issuer.flavour === 'google') return googleClaims(asked)
  if (issuer.flavour === 'azure') return azureClaims(issuer.url, asked)
  return issuer.flavour === 'aws' && awsIssuer(issuer.url) === 'outbound' ? stsClaims(asked) : undefined
}

function googleClaims(asked: CloudClaims): CloudClaims {
  const sub = textOf(asked.sub) || someNumber
  return {
    sub,
    azp: sub,
    email: 'example@example.iam.gserviceaccount.com',
    email_verified: true,
    google: {
      compute_engine: {
        instance_id: someNumber.slice(0, 19),
        instance_name: 'example-1',
        project_id: 'example',
        project_number: 1_000_000_000_001,
        zone: 'europe-west1-b',
      },
    },
  }
}

function azureClaims(url: string, asked: CloudClaims): CloudClaims {
  const named = readEntraIssuer(url)
  const asId = (value: Claim | undefined): string => (isEntraId(value) ? value : '')
  const oid = asId(asked.oid) || asId(asked.sub) || someId
  const application = asId(asked.appid) || asId(asked.azp) || someId
  const version = named?.version ?? '2.0'
  return {
    tid: named?.tenant ?? someId,
    ver: version,
    oid,
    sub: oid,
    idtyp: 'app',
    ...(version === '1.0' ? { appid: application } : { azp: application }),
  }
}

function stsClaims(asked: CloudClaims): CloudClaims {
  const sub = textOf(asked.sub) || 'arn:aws:iam::123456789012:role/example'
  const account = parseRoleArn(sub)?.account ?? '123456789012'
  return { sub, [awsNamespace]: { aws_account: account, source_region: 'eu-west-1', principal_tags: {} } }
}
