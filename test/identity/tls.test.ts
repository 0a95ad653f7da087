import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startIssuer, type TestIssuer } from '../support/issuer.ts'
import { selfSigned } from '../support/self-signed.ts'
import { scene } from './setup.ts'

let issuer: TestIssuer
let server: Server
let url: string
let certificate: string

beforeAll(async () => {
  issuer = await startIssuer()
  const tls = await selfSigned('test issuer')
  certificate = tls.cert
  server = createServer(tls, (_, response) => {
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
