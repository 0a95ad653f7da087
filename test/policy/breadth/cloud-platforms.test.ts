import { describe, expect, test } from 'vitest'
import { loadPolicies, problemText } from '../../../src/policy/load.ts'
import { base, edit, folder } from '../organisation.ts'

/** What is said of the `base` organisation once its issuer is another and its workload matches these claims. */
async function said(issuer: string, claims: object): Promise<string[]> {
  const [first = ''] = issuer.split('---')
  const head = `kind: Issuer\nname: cluster-eu\naudience: https://writ.example.com\nenvironment: prod\n`
  const audience = first.includes('audience:') ? head.replace(/audience:.*\n/, '') : head
  const whole = first.includes('environment:') ? audience.replace(/environment:.*\n/, '') : audience
  const files = edit('workload.yaml', '{ sub: "system:serviceaccount:orders:checkout" }', JSON.stringify(claims), {
    ...base,
    'issuer.yaml': `${whole}${issuer.includes('keys:') ? '' : 'keys: { discovery: true }\n'}${issuer}\n`,
  })
  const result = await loadPolicies(await folder(files))
  const problems = result.ok
    ? result.set.warnings.map((problem) => `warning ${problemText(problem)}`)
    : result.problems.map((problem) => `${problem.severity} ${problemText(problem)}`)
  // That `base` has a static secret is not what is asked here; nor is the column, which depends on how claims are quoted.
  return problems.filter((line) => !line.includes('is static')).map((line) => line.replace(/:\d+:\d+:/, ':'))
}

async function expectSaid(issuer: string, claims: object, wanted: string | undefined): Promise<void> {
  const found = await said(issuer, claims)
  if (wanted === undefined) expect(found).toEqual([])
  else expect(found).toEqual([expect.stringContaining(wanted)])
}

describe('spiffe', () => {
  const keys = 'keys: { jwks_url: https://spire.example.org/bundle }'
  const issuer = `flavour: spiffe\nurl: spiffe://example.org\ntrust_domain: example.org\n${keys}`
  const own = { sub: 'spiffe://example.org/ns/orders/sa/checkout' }

  test.each([
    [own, undefined],
    [{ sub: 'spiffe://example.org/ns/orders/sa/*' }, undefined],
    [{ sub: 'spiffe://example.org/checkout' }, undefined],
    [{ sub: 'spiffe://example.org/ns/*/sa/checkout' }, 'warning workload.yaml: the match takes in any namespace'],
    [{ sub: 'spiffe://example.org/*' }, 'error workload.yaml: the match is so wide that any workload of the trust'],
    [{ sub: 'spiffe://example.org/ns/*/sa/*' }, 'the match is so wide that any workload of the trust domain fits'],
    [{ sub: 'spiffe://*/ns/orders/sa/checkout' }, 'the issuer signs no such SPIFFE ID, so no token fits'],
    [{ sub: 'spiffe://example.com/checkout' }, 'the issuer signs no such SPIFFE ID, so no token fits'],
    [{ sub: 'spiffe://example.org/' }, 'this is not a SPIFFE ID, so no token fits'],
    [{ sub: 'spiffe://example.org/a/../b' }, 'this is not a SPIFFE ID, so no token fits'],
    [{ team: 'orders' }, 'the match does not name the SPIFFE ID, which alone is a workload'],
  ])('a match of %j', (claims, wanted) => expectSaid(issuer, claims, wanted))

  test.each([
    ['no trust domain', issuer.replace('trust_domain: example.org\n', ''), 'names none, add trust_domain'],
    [
      'the url of another one',
      issuer.replace('url: spiffe://example.org', 'url: spiffe://example.com'),
      'another trust domain',
    ],
    ['an https url', issuer.replace('url: spiffe:', 'url: https:'), undefined],
    ['discovery without a document', issuer.replace(keys, 'keys: { discovery: true }'), 'has no discovery document'],
    ['EdDSA', `${issuer}\nalgorithms: [ES256, EdDSA]`, 'error issuer.yaml: no JWT-SVID is signed with EdDSA'],
    ['PS512', `${issuer}\nalgorithms: [PS512, ES512]`, undefined],
    [
      'a trust domain in capitals',
      issuer.replace('trust_domain: e', 'trust_domain: E'),
      '`trust_domain` cannot be `Example.org`',
    ],
  ])('an Issuer with %s', async (_, text, wanted) => {
    const found = await said(text, own)
    if (wanted === undefined) expect(found).toEqual([])
    else expect(found.join('\n')).toContain(wanted)
  })

  test('a trust domain of two Issuers, or of one that is no spiffe issuer', async () => {
    const second = `${issuer}\n---\nkind: Issuer\nname: second\naudience: https://writ.example.com\n${issuer.replace('url: spiffe:', 'url: https:')}`
    expect((await said(second, own)).join('\n')).toContain('another Issuer has the same trust domain')
    const plain = 'url: https://spire.example.org\ntrust_domain: example.org'
    expect((await said(plain, own)).join('\n')).toContain('only an issuer of SPIFFE IDs has a trust domain')
  })
})

describe('google', () => {
  const issuer = 'flavour: google\nurl: https://accounts.google.com'
  const engine = (claims: object): object => ({ google: { compute_engine: claims } })
  const email = 'checkout@shop-prod.iam.gserviceaccount.com'

  test.each([
    [{ sub: '112179062720391305885' }, undefined],
    [{ sub: '112179062720391305885', email }, undefined],
    [engine({ instance_id: '4570452845155348778' }), undefined],
    [{ email }, 'warning workload.yaml: the service account is matched by its address, which one made after'],
    [{ email: '*@shop-prod.iam.gserviceaccount.com' }, 'warning workload.yaml: every service account of the project'],
    [{ email: 'checkout@*.iam.gserviceaccount.com' }, 'the match takes in service accounts of any project'],
    [{ email: '*-compute@developer.gserviceaccount.com' }, 'the match takes in service accounts of any project'],
    [{ email: 'checkout*' }, 'the match takes in service accounts of any project'],
    [engine({ project_id: 'shop-prod' }), 'warning workload.yaml: every instance of the project is this workload'],
    [engine({ project_number: 1071284184436 }), 'every instance of the project is this workload'],
    [engine({ project_id: 'shop-prod', instance_name: 'checkout-1' }), 'the instance is matched by its name'],
    [engine({ instance_name: 'checkout-1' }), 'the match takes in instances of that name in any project'],
    [engine({ project_id: 'shop-prod', instance_name: 'checkout-*' }), 'instances of that name in any project'],
    [{ email_verified: true }, 'the match is so wide that any service account of Google fits'],
    [engine({ zone: 'europe-west1-b' }), 'the match is so wide that any service account of Google fits'],
    [{ 'google.compute_engine.instance_id': '4570452845155348778' }, undefined],
  ])('a match of %j', (claims, wanted) => expectSaid(issuer, claims, wanted))

  test('numbers and text are told apart', async () => {
    const wrong = { sub: 1121790627, ...engine({ instance_id: 45704528, project_number: '1071284184436' }) }
    const found = await said(issuer, wrong)
    for (const name of [
      '`google/compute_engine/instance_id` as text',
      '`sub` as text',
      '`project_number` as a number',
    ]) {
      expect(found).toContainEqual(expect.stringContaining(`error workload.yaml: Google writes ${name}`))
    }
  })

  test('an Issuer that counts uses of tokens without `jti`', async () => {
    const wanted = 'warning issuer.yaml: Google writes no `jti`'
    await expectSaid(`${issuer}\ntoken: { replay: once }`, { sub: '112179062720391305885' }, wanted)
  })

  test('an Issuer of another url fits no token', async () => {
    const old = 'flavour: google\nurl: accounts.google.com'
    await expectSaid(old, { sub: '112179062720391305885' }, 'warning issuer.yaml: Google signs ID tokens as')
  })
})

describe('azure', () => {
  const tid = '63122682-bd96-47fd-97ab-95a76ce699a6'
  const oid = '72243241-f194-45f3-987d-eeb347b83b69'
  const issuer = (url: string): string => `flavour: azure\nurl: ${url}`
  const v2 = issuer(`https://login.microsoftonline.com/${tid}/v2.0`)

  test.each([
    [{ oid }, undefined],
    [{ appid: oid }, undefined],
    [{ azp: oid }, 'the match is so wide that any token of the issuer fits'],
    [
      { oid, xms_mirid: '/subscriptions/*/resourcegroups/shop/providers/Microsoft.Compute/virtualMachines/a' },
      undefined,
    ],
    [
      { xms_mirid: '/subscriptions/s/resourcegroups/shop/providers/Microsoft.Compute/virtualMachines/a' },
      'is matched by its resource',
    ],
    [{ roles: 'Writ.Use' }, 'warning workload.yaml: every application that is assigned the role is this workload'],
    [{ tid }, 'the match is so wide that any application of the tenant fits'],
    [{ idtyp: 'app', ver: '2.0' }, 'the match is so wide that any application of the tenant fits'],
    [{ app_displayname: 'checkout' }, 'the match is so wide that any application of the tenant fits'],
    [{ oid: oid.toUpperCase() }, 'error workload.yaml: Entra writes `oid` as an id in lower case'],
    [{ oid: '72243241-*' }, 'the match is so wide that any application of the tenant fits'],
  ])('a match of %j', (claims, wanted) => expectSaid(v2, claims, wanted))

  test.each([
    [`https://sts.windows.net/${tid}/`, undefined],
    [`https://login.microsoftonline.us/${tid}/v2.0`, undefined],
    ['https://login.microsoftonline.com/common/v2.0', '`common` stands for tenants of anybody'],
    ['https://login.microsoftonline.com/organizations/v2.0', '`organizations` stands for tenants of anybody'],
    ['https://login.microsoftonline.com/consumers/v2.0', '`consumers` stands for tenants of anybody'],
    ['https://sts.windows.net/9188040d-6c67-4c5b-b112-36a304b66dad/', 'stands for tenants of anybody'],
    ['https://login.microsoftonline.com/shop.onmicrosoft.com/v2.0', 'tokens name the tenant by its id, in lower case'],
    [`https://login.microsoftonline.com/${tid.toUpperCase()}/v2.0`, 'tokens name the tenant by its id, in lower case'],
    [`https://sts.windows.net/${tid}`, 'the url is not an issuer of Microsoft Entra'],
    [`https://login.microsoftonline.com/${tid}`, 'the url is not an issuer of Microsoft Entra'],
  ])('an Issuer of %s', (url, wanted) => expectSaid(issuer(url), { oid }, wanted))

  test('an Issuer that counts uses of tokens without `jti`', async () => {
    await expectSaid(
      `${v2}\ntoken: { replay: once_per_purpose }`,
      { oid },
      'warning issuer.yaml: Entra writes no `jti`',
    )
  })
})

describe('aws', () => {
  const eks = 'flavour: aws\nurl: https://oidc.eks.eu-west-1.amazonaws.com/id/D48675832CA65BD10A532F597OIDCID'
  const sts = 'flavour: aws\nurl: https://a1667813-695b-5415-b0f7-d473d62bb123.tokens.sts.global.api.aws'
  const role = 'arn:aws:iam::123456789012:role/checkout'
  const saying = (claims: object): object => ({ 'https://sts.amazonaws.com/': claims })
  const instance = { ec2_source_instance_arn: 'arn:aws:ec2:eu-west-1:123456789012:instance/i-0abc123def4567890' }
  const code = { lambda_source_function_arn: 'arn:aws:lambda:eu-west-1:123456789012:function:checkout' }

  test.each([
    [eks, { sub: 'system:serviceaccount:orders:checkout' }, undefined],
    [eks, { sub: 'system:serviceaccount:*:checkout' }, 'the match takes in any namespace'],
    [eks, { 'kubernetes.io': { pod: { name: 'a' } } }, 'the match is so wide that any service account fits'],
    [sts, { sub: role }, 'warning workload.yaml: the role is matched by its ARN, which one made after it was deleted'],
    [sts, { sub: role, ...saying(instance) }, undefined],
    [sts, saying(instance), undefined],
    [sts, { 'https://sts.amazonaws.com/.ec2_source_instance_arn': instance.ec2_source_instance_arn }, undefined],
    [sts, saying(code), 'the function is matched by its ARN'],
    [sts, { sub: 'arn:aws:iam::*:role/checkout' }, 'the match leaves the account open'],
    [sts, { sub: 'arn:aws:iam::123456789012:role/*' }, 'the match is so wide that any role of the account fits'],
    [sts, { sub: 'arn:aws:iam::123456789012:user/alice' }, 'this is not the ARN of a role, so no token fits'],
    [sts, { sub: 'arn:aws:sts::123456789012:assumed-role/checkout/s' }, 'this is not the ARN of a role'],
    [sts, saying({ aws_account: '123456789012' }), 'the match is so wide that any role of the account fits'],
    [sts, saying({ ...instance, aws_account: 123456789012 }), 'AWS writes `aws_account` as text'],
    [
      sts,
      saying({ ...instance, request_tags: { team: 'orders' } }),
      'whoever asks for the token chooses its request_tags',
    ],
  ])('%s: a match of %j', (issuer, claims, wanted) => expectSaid(issuer, claims, wanted))

  test.each([
    [
      `${eks}\naudience: [https://writ.example.com, sts.amazonaws.com]`,
      'warning issuer.yaml: tokens for AWS are taken',
    ],
    [`${sts}\nalgorithms: [ES256]`, 'STS signs with none of these'],
    [`${sts}\nalgorithms: [ES384]`, undefined],
    [
      `${sts}\nenvironment: { claim: https://sts.amazonaws.com/.request_tags.env, map: { prod: prod } }`,
      'so would choose the environment',
    ],
    ['flavour: aws\nurl: https://sts.amazonaws.com', 'neither that of an EKS cluster nor that of STS'],
  ])('an Issuer of %s', async (issuer, wanted) => {
    const found = (await said(issuer, saying(instance))).filter((line) => line.includes('issuer.yaml'))
    if (wanted === undefined) expect(found).toEqual([])
    else expect(found).toEqual([expect.stringContaining(wanted)])
  })
})

test.each([
  ['https://accounts.google.com', 'google'],
  ['https://login.microsoftonline.com/common/v2.0', 'azure'],
  ['https://oidc.eks.eu-west-1.amazonaws.com/id/D4', 'aws'],
  ['spiffe://example.org', 'spiffe'],
  ['https://issuer.example.com', undefined],
])('a generic Issuer of %s is told of the flavour %s', async (url, flavour) => {
  const wanted = flavour && `warning issuer.yaml: the rules of ${flavour} are not applied to its tokens`
  await expectSaid(`url: ${url}`, { sub: 'checkout' }, wanted)
})
