import { describe } from 'vitest'
import { testAudience } from '../../support/issuer.ts'
import { judgeSamples, platform, type Sample } from './samples.ts'

const url = 'https://login.example.com/realms/apps'
const on = platform('generic', url)

const samples: readonly Sample[] = [
  { what: 'an ID token of a client', claims: { sub: 'client:shop-reports', azp: 'shop-reports' } },
  {
    what: 'an access token of a Keycloak realm',
    claims: { sub: '0c1f7a0e-6a55-4d59-8b3a-0d9c34e0c1aa', typ: 'Bearer', azp: 'shop', scope: 'writ', acr: '1' },
  },
  { what: 'an access token of Auth0', claims: { sub: 'k3n1xZ@clients', gty: 'client-credentials', azp: 'k3n1xZ' } },
  { what: 'one of Okta', claims: { sub: '0oa1b2c3d4', ver: 1, cid: '0oa1b2c3d4', scp: ['writ'] } },
  { what: 'one for two audiences', claims: { sub: 'a', aud: ['https://other.example.com', testAudience] } },
  { what: 'one without jti and nbf', claims: { sub: 'a', jti: undefined } },
  { what: 'one for somebody else', claims: { sub: 'a', aud: 'https://other.example.com' }, refused: /^audience: / },
  { what: 'one without a subject', claims: { sub: undefined }, refused: /^subject: / },
  { what: 'one that never ends', claims: { sub: 'a', exp: undefined }, refused: /^expiry: / },
  {
    what: 'one of another realm',
    claims: { sub: 'a', iss: 'https://login.example.com/realms/people' },
    refused: /^issuer: /,
  },
]

describe('tokens of issuers that are known for nothing more', () => judgeSamples(on, url, samples))
