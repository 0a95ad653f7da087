import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { onPath, runProgram } from '../../support/program.ts'
import { issued, scriptedBroker } from '../scripted-broker.ts'
import { getAs } from './get-as.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-formats-aws-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const secret = { access_key: 'ASIA1', secret_key: 'wJalr/+"\\x', security_token: 'FwoG==' }

describe('aws-process', () => {
  it('says when to ask again, and leaves out what there is not', async () => {
    const expires_at = '2026-11-24T23:00:00.000Z'
    const { out } = await getAs({ ...secret, session_token: null }, ['--format', 'aws-process'], { expires_at })
    expect(JSON.parse(out)).toEqual({
      Version: 1,
      AccessKeyId: 'ASIA1',
      SecretAccessKey: secret.secret_key,
      SessionToken: 'FwoG==',
      Expiration: expires_at,
    })
    const user = { ...secret, security_token: null }
    const still = await getAs(user, ['--format', 'aws-process'], { expires_at: null })
    expect(Object.keys(JSON.parse(still.out))).toEqual(['Version', 'AccessKeyId', 'SecretAccessKey'])
  })

  it('hands back what has no keys, and names the fields there are', async () => {
    const got = await getAs({ username: 'u', password: 'p' }, ['--format', 'aws-process'])
    expect(got).toMatchObject({ status: 2, out: '', handedBack: 1 })
    expect(got.err).toContain('"access_key"')
    expect(got.err).toContain('username, password')
  })
})

describe.skipIf(!onPath('aws'))('needs aws on PATH: credential_process', () => {
  it('gives the AWS command line its keys', async () => {
    const broker = await scriptedBroker({ 'POST /v1/credentials': () => issued(3_600_000, { secret }) })
    // A double of STS: it says who asked, and remembers how.
    const seen: IncomingHttpHeaders[] = []
    const sts = createServer((request, response) => {
      seen.push(request.headers)
      response.setHeader('content-type', 'text/xml').end(callerIdentity)
    }).listen(0, '127.0.0.1')
    await once(sts, 'listening')
    const bin = fileURLToPath(new URL('../../../bin/writ.js', import.meta.url))
    const command = [process.execPath, bin, 'get', '--purpose', 'read-orders', '--format', 'aws-process']
    const config = join(folder, 'config')
    writeFileSync(config, `[profile orders]\nregion = eu-central-1\ncredential_process = ${command.join(' ')}\n`)
    const env = { HOME: folder, AWS_CONFIG_FILE: config, WRIT_URL: broker.url, WRIT_TOKEN: 't' }
    const endpoint = `http://127.0.0.1:${(sts.address() as AddressInfo).port}`
    const args = ['sts', 'get-caller-identity', '--profile', 'orders', '--endpoint-url', endpoint]
    const ran = await runProgram('aws', args, { env })
    sts.close()
    await broker.close()
    expect(ran, ran.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('123456789012') })
    expect(seen).toHaveLength(1)
    expect(seen[0]?.authorization).toMatch(/^AWS4-HMAC-SHA256 Credential=ASIA1\/\d{8}\/eu-central-1\/sts\//)
    expect(seen[0]?.['x-amz-security-token']).toBe('FwoG==')
  }, 60_000)
})

const callerIdentity = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::123456789012:user/v</Arn><UserId>A</UserId><Account>123456789012</Account></GetCallerIdentityResult>
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`
