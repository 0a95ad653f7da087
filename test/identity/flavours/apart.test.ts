import { afterAll, beforeAll, expect, it } from 'vitest'
import { startIssuer, type TestIssuer } from '../../support/issuer.ts'
import { testPlatform } from './platform.ts'

const uuid = '72243241-f194-45f3-987d-eeb347b83b69'
const tid = '63122682-bd96-47fd-97ab-95a76ce699a6'
const sts = 'https://a1667813-695b-5415-b0f7-d473d62bb123.tokens.sts.global.api.aws'
const eks = 'https://oidc.eks.eu-west-1.amazonaws.com/id/D48675832CA65BD10A532F597OIDCID'

/** One good token of each platform, and the Issuer it is good for. */
const platforms = {
  spiffe: {
    policy: {
      flavour: 'spiffe',
      url: 'https://spire.example.org',
      trust_domain: 'example.org',
      keys: { discovery: true },
    },
    claims: { sub: 'spiffe://example.org/checkout' },
  },
  google: {
    policy: { flavour: 'google', url: 'https://accounts.google.com' },
    claims: { sub: '112179062720391305885', azp: '112179062720391305885' },
  },
  azure: {
    policy: { flavour: 'azure', url: `https://login.microsoftonline.com/${tid}/v2.0` },
    claims: { tid, ver: '2.0', oid: uuid, sub: uuid, azp: uuid, idtyp: 'app' },
  },
  'aws-eks': {
    policy: { flavour: 'aws', url: eks },
    claims: { sub: 'system:serviceaccount:orders:checkout' },
  },
  'aws-sts': {
    policy: { flavour: 'aws', url: sts },
    claims: {
      sub: 'arn:aws:iam::123456789012:role/checkout',
      'https://sts.amazonaws.com/': { aws_account: '123456789012' },
    },
  },
  kubernetes: {
    policy: { flavour: 'kubernetes', url: 'https://kubernetes.default.svc' },
    claims: { sub: 'system:serviceaccount:orders:checkout' },
  },
  'github-actions': {
    policy: { flavour: 'github-actions', url: 'https://token.actions.githubusercontent.com' },
    claims: { sub: 'repo:acme@1/shop@2:ref:refs/heads/main', repository_id: '2', repository_owner_id: '1' },
  },
  gitlab: {
    policy: { flavour: 'gitlab', url: 'https://gitlab.com' },
    claims: { sub: 'project_path:shop/app:ref_type:branch:ref:main', project_path: 'shop/app', project_id: '22' },
  },
} as const
type Name = keyof typeof platforms
const names = Object.keys(platforms) as Name[]
// EKS signs the tokens of Kubernetes: they are the same thing, and only the url of the Issuer tells which cluster it was.
const alike: ReadonlySet<string> = new Set(['aws-eks kubernetes', 'kubernetes aws-eks'])
const pairs = names.flatMap((one) => names.map((other): [Name, Name] => [one, other]))

let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer()
})
afterAll(() => issuer.close())

it.each(pairs)(
  'what is a token of %s is, for an issuer of %s with the same key, one only where they are the same',
  async (of, by) => {
    const { policy } = platforms[by]
    // The key of the test issuer in both forms, so that it is never the key that tells them apart.
    const keys = issuer.jwks().keys.map((key) => ({ ...key, use: policy.flavour === 'spiffe' ? 'jwt-svid' : 'sig' }))
    const why = await testPlatform(issuer, { ...policy, keys: { jwks: { keys } } }).judge(platforms[of].claims)
    if (of === by || alike.has(`${of} ${by}`)) expect(why).toBe('ok')
    else expect(why).toMatch(/^(spiffe|google|azure|aws|kubernetes|github|gitlab)\.\w+: /)
  },
)
