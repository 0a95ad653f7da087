import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { authorityExtensions, leafExtensions, makeCertificate } from '../../support/certificates.ts'
import { onPath, type Ran, runProgram } from '../../support/program.ts'
import { getAs } from './get-as.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-formats-k8s-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = join(folder, 'config')

const token = 'eyJhbGciOi.J9"\\: #{x}'
const tokenSecret = { service_account_token: token, service_account_namespace: 'orders', service_account_name: 'v-1' }

describe('kubeconfig', () => {
  it.each([
    [[], /--server/],
    [['--server', 'http://127.0.0.1'], /https:/],
    [['--server', 'https://k', '--ca', '/no/such/file'], /--ca/],
    [['--server', 'https://k', '--registry', 'r'], /--registry goes with docker/],
  ])('says what is wrong before it asks for anything: %j', async (args, why) => {
    const got = await getAs(tokenSecret, ['--format', 'kubeconfig', ...args])
    expect(got).toMatchObject({ status: 2, out: '', asked: 0 })
    expect(got.err).toMatch(why)
  })

  it('hands back a secret that no cluster would know', async () => {
    const got = await getAs({ username: 'u', password: 'p' }, ['--format', 'kubeconfig', '--server', 'https://k'])
    expect(got).toMatchObject({ status: 2, out: '', handedBack: 1 })
    expect(got.err).toContain('username, password')
  })
})

describe.skipIf(!onPath('kubectl', 'openssl'))('needs kubectl and openssl on PATH: the files of Kubernetes', () => {
  const root = makeCertificate(folder, 'root', { extensions: authorityExtensions })
  const served = makeCertificate(folder, 'server', { issuer: root, extensions: leafExtensions })
  const caller = makeCertificate(folder, 'v-deployer', { issuer: root, extensions: leafExtensions })
  const certificateSecret = { certificate: caller.certificate, private_key: caller.key, issuing_ca: root.certificate }

  // A double of the API server: it answers any GET and remembers whom it saw.
  let server: Server
  let at: string[]
  let seen: { path: string | undefined; bearer: string | undefined; name: string | undefined }[] = []
  beforeAll(async () => {
    const tls = { key: served.key, cert: served.certificate, ca: root.certificate }
    server = createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, (request, response) => {
      const peer = request.socket as TLSSocket
      const name = peer.authorized ? peer.getPeerCertificate().subject.CN?.toString() : undefined
      seen.push({ path: request.url, bearer: request.headers.authorization, name })
      response.setHeader('content-type', 'application/json')
      response.end('{"major":"1","minor":"32","gitVersion":"v1.32.4"}')
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    at = ['--server', `https://127.0.0.1:${(server.address() as AddressInfo).port}`, '--ca', root.path]
  })
  afterEach(() => {
    seen = []
  })
  afterAll(() => server?.close())

  const kubectl = (...args: string[]): Promise<Ran> =>
    runProgram('kubectl', args, { env: { HOME: folder, KUBECONFIG: file } })

  it('lets kubectl in by token, into the namespace of the service account', async () => {
    const got = await getAs(tokenSecret, ['--format', 'kubeconfig', ...at, '--out', file])
    expect(got).toMatchObject({ status: 0, out: '', err: '' })
    const ran = await kubectl('get', '--raw', '/version')
    expect(ran).toMatchObject({ code: 0, stdout: expect.stringContaining('v1.32.4') })
    expect(seen.at(-1)).toEqual({ path: '/version', bearer: `Bearer ${token}`, name: undefined })
    expect((await kubectl('config', 'view', '--minify', '-o', 'jsonpath={..namespace}')).stdout).toBe('orders')
  })

  it('lets kubectl in by certificate', async () => {
    const got = await getAs(certificateSecret, ['--format', 'kubeconfig', ...at, '--out', file])
    expect(got).toMatchObject({ status: 0, err: '' })
    expect((await kubectl('get', '--raw', '/version')).code).toBe(0)
    expect(seen.at(-1)).toEqual({ path: '/version', bearer: undefined, name: 'v-deployer' })
  })

  it.each([
    ['token', tokenSecret, { bearer: `Bearer ${token}`, name: undefined }],
    ['certificate', certificateSecret, { bearer: undefined, name: 'v-deployer' }],
  ])('answers kubectl as an exec plugin, by %s', async (_, secret, whom) => {
    const { out } = await getAs(secret, ['--format', 'exec-credential'])
    writeFileSync(join(folder, 'answer'), out)
    const plugin = join(folder, 'plugin')
    writeFileSync(plugin, `#!/bin/sh\nexec cat ${folder}/answer\n`)
    chmodSync(plugin, 0o755)
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: plugin, interactiveMode: 'Never' }
    const cluster = { server: at[1], 'certificate-authority': root.path }
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user: { exec } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    }
    writeFileSync(file, JSON.stringify(config))
    expect(await kubectl('get', '--raw', '/version')).toMatchObject({ code: 0 })
    expect(seen.at(-1)).toMatchObject(whom)
  })
})
