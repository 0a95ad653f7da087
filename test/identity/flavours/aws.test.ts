import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startIssuer, type TestIssuer } from '../../support/issuer.ts'
import { type TestPlatform, testPlatform } from './platform.ts'

const sts = 'https://sts.amazonaws.com/'
const urls = {
  eks: 'https://oidc.eks.eu-west-1.amazonaws.com/id/D48675832CA65BD10A532F597OIDCID',
  outbound: 'https://a1667813-695b-5415-b0f7-d473d62bb123.tokens.sts.global.api.aws',
}
const uid = '0b5ee3ae-59b5-4f0e-9a2c-6d2f5a1f2c11'
const pod = {
  aud: ['https://writ.example.com'],
  sub: 'system:serviceaccount:orders:checkout',
  'kubernetes.io': {
    namespace: 'orders',
    node: { name: 'ip-10-0-1-25.eu-west-1.compute.internal', uid },
    pod: { name: 'checkout-0', uid },
    serviceaccount: { name: 'checkout', uid: '5f6f3f6e-1111-4222-8333-444455556666' },
  },
}
const said = {
  aws_account: '123456789012',
  source_region: 'eu-west-1',
  org_id: 'o-abc1234567',
  ou_path: ['o-abc1234567/r-ab12/ou-ab12-11111111/'],
  principal_id: 'arn:aws:iam::123456789012:role/checkout',
  principal_tags: { environment: 'production', team: 'payments' },
}
const role = { sub: 'arn:aws:iam::123456789012:role/checkout', [sts]: said }
const saying = (more: object): Record<string, unknown> => ({ ...role, [sts]: { ...said, ...more } })
const machine = {
  ec2_source_instance_arn: 'arn:aws:ec2:eu-west-1:123456789012:instance/i-0abc123def4567890',
  ec2_instance_source_vpc: 'vpc-0abc123def4567890',
  ec2_instance_source_private_ipv4: '10.0.1.25',
  ec2_role_delivery: '2.0',
}

let issuer: TestIssuer
let eks: TestPlatform
let outbound: TestPlatform

beforeAll(async () => {
  issuer = await startIssuer({ alg: 'ES384' })
  eks = testPlatform(issuer, { flavour: 'aws', url: urls.eks, algorithms: ['ES384'] })
  outbound = testPlatform(issuer, {
    flavour: 'aws',
    url: urls.outbound,
    algorithms: ['RS256', 'ES384'],
    environment: { claim: 'https://sts.amazonaws.com/.aws_account', map: { '123456789012': 'prod' } },
  })
})
afterAll(() => issuer.close())

describe('a service account token of an EKS cluster', () => {
  it('names the pod as the run', async () => {
    expect(await eks.identity(pod)).toMatchObject({ flavour: 'aws', subject: pod.sub, run: `pod/${uid}` })
  })

  it.each([
    [
      'of a cluster with both kinds of addresses',
      'https://oidc-eks.eu-west-1.api.aws/id/D48675832CA65BD10A532F597OIDCID',
    ],
    ['of a cluster in China', 'https://oidc.eks.cn-north-1.amazonaws.com.cn/id/D48675832CA65BD10A532F597OIDCID'],
  ])('%s is taken', async (_, url) => {
    expect(await testPlatform(issuer, { flavour: 'aws', url, algorithms: ['ES384'] }).judge(pod)).toBe('ok')
  })

  it.each([
    ['for AWS', { aud: ['sts.amazonaws.com'] }, /^audience: /],
    ['for AWS and for the broker', { aud: [...pod.aud, 'sts.amazonaws.com'] }, /^aws.audience: it has several/],
    ['of a role', { sub: role.sub }, /^kubernetes.subject: /],
    ['whose claims disagree', { sub: 'system:serviceaccount:orders:admin' }, /^kubernetes.binding: /],
  ])('%s is refused', async (_, change, outcome) => {
    expect(await eks.judge({ ...pod, ...change })).toMatch(outcome)
  })
})

describe('a token that STS signed for a role', () => {
  it('names the EC2 instance as the run, and the account as the environment', async () => {
    const identity = await outbound.identity(saying(machine))
    expect(identity).toMatchObject({ run: 'instance/i-0abc123def4567890', environment: 'prod', subject: role.sub })
    expect((await outbound.identity(role)).run).toBeUndefined()
  })

  it.each([
    ['a role', role],
    ['a role with a path', { ...role, sub: 'arn:aws:iam::123456789012:role/service/orders/checkout' }],
    ['a role in China', { ...role, sub: 'arn:aws-cn:iam::123456789012:role/checkout' }],
    ['an instance', saying(machine)],
    ['a function', saying({ lambda_source_function_arn: 'arn:aws:lambda:eu-west-1:123456789012:function:checkout' })],
    ['a request with tags', saying({ request_tags: { job: '2026-11' } })],
    ['no instance, said with empty text', saying({ ec2_source_instance_arn: '' })],
    ['one audience in a list', { ...role, aud: ['https://writ.example.com'] }],
  ])('of %s is taken', async (_, claims) => {
    expect(await outbound.judge(claims)).toBe('ok')
  })

  const people =
    'arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Admin_0123456789abcdef'
  it.each([
    ['two audiences', { ...role, aud: ['https://writ.example.com', 'https://api.example.com'] }, /^aws.audience: /],
    ['another account', saying({ aws_account: '999999999999' }), /^aws.account: sub is of account "123456789012"/],
    ['an account that is a number', saying({ aws_account: 123_456_789_012 }), /^aws.account: /],
    ['nothing said by AWS', { sub: role.sub }, /^aws.account: /],
    ['a list of what AWS says', { ...role, [sts]: [said] }, /^aws.account: /],
    ['a user', { ...role, sub: 'arn:aws:iam::123456789012:user/alice' }, /^aws.subject: /],
    ['the root of the account', { ...role, sub: 'arn:aws:iam::123456789012:root' }, /^aws.subject: /],
    ['a session', { ...role, sub: 'arn:aws:sts::123456789012:assumed-role/checkout/s' }, /^aws.subject: /],
    ['a role without name', { ...role, sub: 'arn:aws:iam::123456789012:role/' }, /^aws.subject: /],
    ['a role with an empty path', { ...role, sub: 'arn:aws:iam::123456789012:role//checkout' }, /^aws.subject: /],
    ['a role with a star', { ...role, sub: 'arn:aws:iam::123456789012:role/*' }, /^aws.subject: /],
    ['a pod', { ...pod, aud: 'https://writ.example.com' }, /^aws.subject: /],
    [
      'a role that people sign in to',
      { ...role, sub: people },
      /^aws.workload: the role is one that people sign in to/,
    ],
    ['a person of Identity Center', saying({ identity_store_user_id: 'user-abc123def456' }), /^aws.workload: /],
    [
      'an instance that is none',
      saying({ ec2_source_instance_arn: 'arn:aws:ec2:eu-west-1:1:instance/i-1' }),
      /^aws.instance: /,
    ],
  ])('of %s is refused', async (_, claims, outcome) => {
    expect(await outbound.judge(claims)).toMatch(outcome)
  })
})

it.each([
  'https://sts.amazonaws.com',
  'https://oidc.eks.eu-west-1.amazonaws.com/id/D4/x',
  'https://oidc.eks.eu-west-1.amazonaws.com.evil.test/id/D4',
  'https://x.tokens.sts.global.api.aws/',
  'https://evil.test/.tokens.sts.global.api.aws',
])('an Issuer of %s takes no token', async (url) => {
  const other = testPlatform(issuer, { flavour: 'aws', url, algorithms: ['ES384'] })
  for (const claims of [role, pod]) expect(await other.judge(claims)).toMatch(/^aws.issuer: /)
})
