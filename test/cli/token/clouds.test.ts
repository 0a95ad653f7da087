import { createHash, createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type Asked, audience, failureOf, jwt, platformServers, scratch, source } from './setting.ts'

const serve = platformServers()
const { file } = scratch()

describe('Google', () => {
  it('is asked by its metadata server for the audience and the full form', async () => {
    const { host, asked } = await serve(() => [200, 'google.signed.token'])
    expect(await source({ GCE_METADATA_HOST: host })()).toBe('google.signed.token')
    expect(asked[0]?.url.pathname).toBe('/computeMetadata/v1/instance/service-accounts/default/identity')
    expect(Object.fromEntries(asked[0]?.url.searchParams ?? [])).toEqual({ audience, format: 'full' })
    expect(asked[0]?.headers['metadata-flavor']).toBe('Google')
  })

  it.each([
    [404, 'secret.token.text'],
    [200, ''],
    [200, '<html>secret.token.text'],
    [302, ''],
  ])('answering %i %j is an error that repeats nothing of it', async (status, text) => {
    const { host, asked } = await serve(() => [status, text])
    const error = await failureOf(source({ GCE_METADATA_HOST: host }))
    expect(error.exitStatus).toBe(4)
    expect(error.message).not.toContain('secret.token')
    expect(asked).toHaveLength(1)
  })

  it('refuses a metadata host that is no host', async () => {
    expect((await failureOf(source({ GCE_METADATA_HOST: 'a b' }))).message).toContain('not the name of a host')
  })
})

describe('Azure', () => {
  const answer = JSON.stringify({ access_token: 'azure.signed.token', token_type: 'Bearer' })

  it('gives the token of a managed identity through the endpoint of App Service', async () => {
    const { url, asked } = await serve(() => [200, answer])
    const env = { IDENTITY_ENDPOINT: `${url}/msi/token`, IDENTITY_HEADER: 'platform-secret', AZURE_CLIENT_ID: 'c1' }
    expect(await source(env)()).toBe('azure.signed.token')
    expect(asked[0]?.url.pathname).toBe('/msi/token')
    expect(Object.fromEntries(asked[0]?.url.searchParams ?? [])).toEqual({
      'api-version': '2019-08-01',
      resource: audience,
      client_id: 'c1',
    })
    expect(asked[0]?.headers['x-identity-header']).toBe('platform-secret')
    expect(asked[0]?.headers.metadata).toBeUndefined()
  })

  it('gives it through the instance metadata service', async () => {
    const { url, asked } = await serve(() => [200, answer])
    expect(await source({ AZURE_POD_IDENTITY_AUTHORITY_HOST: `${url}/` }, { from: 'azure' })()).toBe(
      'azure.signed.token',
    )
    expect(asked[0]?.url.pathname).toBe('/metadata/identity/oauth2/token')
    expect(Object.fromEntries(asked[0]?.url.searchParams ?? [])).toEqual({
      'api-version': '2018-02-01',
      resource: audience,
    })
    expect(asked[0]?.headers.metadata).toBe('true')
  })

  it.each([
    [400, '{"error":"invalid_resource"}'],
    [200, '{}'],
    [200, '"access_token"'],
  ])('answering %i %s exits 4 with what to register', async (status, text) => {
    const { url } = await serve(() => [status, text])
    const error = await failureOf(source({ IDENTITY_ENDPOINT: url, IDENTITY_HEADER: 'platform-secret' }))
    expect(error).toMatchObject({ exitStatus: 4, fix: expect.stringContaining(audience) })
    expect(error.message).not.toContain('platform-secret')
  })
})

describe.each([
  ['AZURE_FEDERATED_TOKEN_FILE', 'api://AzureADTokenExchange'],
  ['AWS_WEB_IDENTITY_TOKEN_FILE', 'sts.amazonaws.com'],
])('%s', (variable, cloud) => {
  it('is presented when the token is for the broker, and never when it opens the cloud', async () => {
    const ours = jwt({ aud: [audience] })
    const theirs = jwt({ aud: [cloud] })
    expect(await source({ [variable]: file('ours', ours) })()).toBe(ours)
    for (const text of [theirs, 'opaque']) {
      const error = await failureOf(source({ [variable]: file('theirs', text) }))
      expect(error).toMatchObject({ exitStatus: 4, fix: expect.stringContaining('projected token') })
      expect(error.message).not.toContain(text.slice(0, 12))
    }
  })
})

describe('AWS', () => {
  const keys = {
    AWS_ACCESS_KEY_ID: 'ASIAEXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'sEcReT',
    AWS_SESSION_TOKEN: 'sess/ion+token==',
  }
  const given = JSON.stringify({ AccessKeyId: 'ASIAEXAMPLE', SecretAccessKey: 'sEcReT', Token: 'sess/ion+token==' })
  const tokenAnswer =
    '<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>' +
    '<Expiration>2026-11-24T22:00:00Z</Expiration><WebIdentityToken>sts.signed.token</WebIdentityToken>' +
    '</GetWebIdentityTokenResult></GetWebIdentityTokenResponse>'

  // Signature Version 4 as the service computes it (docs.aws.amazon.com, "Create a signed AWS API request").
  function signatureOf({ method, url, headers, body }: Asked, secret: string): string {
    const hash = (text: string): string => createHash('sha256').update(text).digest('hex')
    const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()
    const authorization = String(headers.authorization)
    const [, scope = ''] = /Credential=[^/]+\/([^,]+),/.exec(authorization) ?? []
    const [, names = ''] = /SignedHeaders=([^,]+),/.exec(authorization) ?? []
    const canonical = [
      ...[method, url.pathname, url.search.slice(1)],
      ...names.split(';').map((name) => `${name}:${headers[name]}`),
      ...['', names, hash(body)],
    ].join('\n')
    const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, hash(canonical)].join('\n')
    const key = scope.split('/').reduce<string | Buffer>((sofar, part) => hmac(sofar, part), `AWS4${secret}`)
    return hmac(key, text).toString('hex')
  }

  const expectSignedRequest = (asked: Asked | undefined): void => {
    if (asked === undefined) throw new Error('STS was not asked')
    expect(Object.fromEntries(new URLSearchParams(asked.body))).toEqual({
      Action: 'GetWebIdentityToken',
      Version: '2011-06-15',
      'Audience.member.1': audience,
      SigningAlgorithm: 'RS256',
      DurationSeconds: '300',
    })
    expect(asked.method).toBe('POST')
    expect(asked.headers['content-type']).toMatch(/^application\/x-www-form-urlencoded/)
    expect(asked.headers['x-amz-security-token']).toBe('sess/ion+token==')
    expect(asked.headers.authorization).toMatch(/Credential=ASIAEXAMPLE\/\d{8}\/eu-west-1\/sts\/aws4_request,/)
    expect(asked.headers.authorization).toMatch(/SignedHeaders=[^,]*host;[^,]*x-amz-date;x-amz-security-token/)
    expect(asked.headers.authorization).toContain(`Signature=${signatureOf(asked, 'sEcReT')}`)
  }

  it('signs a token in STS for the role of a function, by a request that the service would take', async () => {
    const sts = await serve(() => [200, tokenAnswer])
    const env = { ...keys, AWS_LAMBDA_FUNCTION_NAME: 'f', AWS_REGION: 'eu-west-1', AWS_ENDPOINT_URL_STS: sts.url }
    expect(await source(env)()).toBe('sts.signed.token')
    expectSignedRequest(sts.asked[0])
  })

  it('takes the keys of a container, which proves itself by the token in a file', async () => {
    const sts = await serve(() => [200, tokenAnswer])
    const agent = await serve(() => [200, given])
    const env = {
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${agent.url}/v1/credentials`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file('pod-token', 'pod.token\n'),
      AWS_REGION: 'eu-west-1',
      AWS_ENDPOINT_URL_STS: sts.url,
    }
    expect(await source(env)()).toBe('sts.signed.token')
    expect(agent.asked[0]).toMatchObject({ method: 'GET', headers: { authorization: 'pod.token' } })
    expectSignedRequest(sts.asked[0])
  })

  it('takes no keys over plain HTTP from anywhere but this machine and the agents of AWS', async () => {
    const env = { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://192.0.2.1/keys', AWS_REGION: 'eu-west-1' }
    expect((await failureOf(source(env))).message).toContain('names no address that may give keys')
  })

  it('takes those of the instance in a session (IMDSv2), and its region', async () => {
    const sts = await serve(() => [200, tokenAnswer])
    const root = '/latest/meta-data'
    const imds = await serve(({ method, url, headers }) => {
      if (method === 'PUT' && url.pathname === '/latest/api/token') return [200, 'session==']
      if (headers['x-aws-ec2-metadata-token'] !== 'session==') return [401, '']
      if (url.pathname === `${root}/placement/region`) return [200, 'eu-west-1']
      if (url.pathname === `${root}/iam/security-credentials/`) return [200, 'build-role\n']
      return url.pathname === `${root}/iam/security-credentials/build-role` ? [200, given] : [404, '']
    })
    const env = { AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.url, AWS_ENDPOINT_URL_STS: sts.url }
    expect(await source(env, { from: 'aws' })()).toBe('sts.signed.token')
    expect(imds.asked[0]?.headers['x-aws-ec2-metadata-token-ttl-seconds']).toBe('60')
    expectSignedRequest(sts.asked[0])
  })

  it.each([
    [
      403,
      '<ErrorResponse><Error><Code>AccessDenied</Code><Message>sEcReT</Message></Error></ErrorResponse>',
      '(AccessDenied)',
    ],
    [400, '<Code>sEcReT key</Code>', 'STS answered 400'],
    [200, '<WebIdentityToken>', 'holds none'],
    [200, '<WebIdentityToken>not a token sEcReT</WebIdentityToken>', 'does not hold a bearer token'],
  ])('answering %i exits 4 with what to allow, and repeats no secret', async (status, text, why) => {
    const sts = await serve(() => [status, text])
    const env = { ...keys, AWS_REGION: 'eu-west-1', AWS_ENDPOINT_URL_STS: sts.url }
    const error = await failureOf(source(env, { from: 'aws' }))
    expect(error).toMatchObject({ exitStatus: 4, message: expect.stringContaining(why) })
    expect(JSON.stringify([error.message, error.fix])).not.toContain('sEcReT')
  })

  it('asks a host of AWS only, whatever the region is said to be', async () => {
    const env = { ...keys, AWS_REGION: 'eu.evil.example/' }
    expect((await failureOf(source(env, { from: 'aws' }))).message).toContain('not the name of one')
    const none = { ...keys, AWS_EC2_METADATA_DISABLED: 'true' }
    expect((await failureOf(source(none, { from: 'aws' }))).message).toContain('AWS_REGION is not set')
  })
})
