// @peculiar/x509 needs the polyfill to be there first.
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import * as x509 from '@peculiar/x509'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { scene } from './setup.ts'

let issuer: TestIssuer
let server: Server
let url: string
let certificate: string

beforeAll(async () => {
  issuer = await startIssuer()
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=test issuer',
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true),
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }]),
    ],
  })
  certificate = made.toString('pem')
  const exported = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64')
  const key = `-----BEGIN PRIVATE KEY-----\n${exported}\n-----END PRIVATE KEY-----\n`
  server = createServer({ cert: certificate, key }, (_, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(issuer.jwks()))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `https://localhost:${(server.address() as AddressInfo).port}/jwks`
})
afterAll(async () => {
  server.closeAllConnections()
  await Promise.all([issuer.close(), new Promise((resolve) => server.close(resolve))])
})

describe('keys over https', () => {
  it('are taken from a server that a trusted authority vouches for, and from no other', async () => {
    const before = getCACertificates('default')
    const fetched = async (): Promise<string> => {
      const s = scene(issuer, { keys: { jwks_url: url } }, { allowLoopbackHttp: false })
      return s.whyNot(await s.sign())
    }
    expect(await fetched()).toMatch(/localhost:\d+ cannot be reached \(DEPTH_ZERO_SELF_SIGNED_CERT\)$/)
    setDefaultCACertificates([...before, certificate])
    try {
      expect(await fetched()).toBe('ok')
    } finally {
      setDefaultCACertificates(before)
    }
  })
})
