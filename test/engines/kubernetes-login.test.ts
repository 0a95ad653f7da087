import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportSPKI, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import { createVaultSession, type VaultSession } from '../../src/engines/vault-session.ts'
import { baoAvailable, startBao, type TestBao } from '../support/bao.ts'
import { strictly, vaultApi } from '../support/vault-api.ts'
import { text } from '../support/vault-setup.ts'

const account = { namespace: 'writ', name: 'broker', uid: '6f9c5f2e-5b0d-4f6e-9a57-1d5a6e1c9b10' }

/** The part of a Kubernetes API server that Vault asks: `TokenReview`. It takes the tokens that it has signed. */
async function startApiServer() {
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
  const live = new Set<string>()
  const server = createServer((request, response) => {
    let sent = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      sent += chunk
    })
    request.on('end', () => {
      const { spec } = JSON.parse(sent) as { spec: { token: string; audiences?: string[] } }
      const authenticated = live.has(spec.token)
      const username = `system:serviceaccount:${account.namespace}:${account.name}`
      const user = { username, uid: account.uid, groups: ['system:serviceaccounts', 'system:authenticated'] }
      const audiences = spec.audiences ?? ['https://kubernetes.default.svc']
      const status = authenticated
        ? { authenticated, user, audiences }
        : { authenticated, error: 'invalid bearer token' }
      response.writeHead(201, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec, status }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    publicKeyPem: await exportSPKI(publicKey),
    /** A bound token of the service account, as a pod finds it in its volume. */
    async token(): Promise<string> {
      const claims = {
        iss: 'https://kubernetes.default.svc',
        sub: `system:serviceaccount:${account.namespace}:${account.name}`,
        aud: ['https://kubernetes.default.svc'],
        jti: crypto.randomUUID(),
        'kubernetes.io': { namespace: account.namespace, serviceaccount: { name: account.name, uid: account.uid } },
      }
      const sign = new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: 'k' }).setIssuedAt()
      const token = await sign.setExpirationTime('10m').sign(privateKey)
      live.add(token)
      return token
    },
    /** The pod is gone: its token is refused from now on. */
    end: (token: string) => void live.delete(token),
    stop: () => new Promise<void>((resolve) => void server.close(() => resolve())),
  }
}

describe.skipIf(!baoAvailable())('needs bao or vault on PATH: a login with the token of a service account', () => {
  let bao: TestBao
  let kubernetes: Awaited<ReturnType<typeof startApiServer>>
  beforeAll(async () => {
    kubernetes = await startApiServer()
    bao = await startBao({ mode: 'dev' })
    const api = strictly(vaultApi(bao.address, bao.rootToken))
    // Vault wants an authority for the API server's certificate, though it is asked without TLS here.
    await api('POST', 'sys/mounts/pki', { type: 'pki' })
    const { body } = await api('POST', 'pki/root/generate/internal', {
      common_name: 'cluster',
      key_type: 'ec',
      key_bits: 256,
    })
    await api('POST', 'sys/auth/cluster', { type: 'kubernetes' })
    await api('POST', 'auth/cluster/config', {
      kubernetes_host: kubernetes.url,
      token_reviewer_jwt: await kubernetes.token(),
      pem_keys: [kubernetes.publicKeyPem],
      kubernetes_ca_cert: text(body, 'data', 'certificate'),
      disable_local_ca_jwt: true,
      disable_iss_validation: true,
    })
    await api('POST', 'auth/cluster/role/writ', {
      bound_service_account_names: [account.name],
      bound_service_account_namespaces: [account.namespace],
      token_policies: ['default'],
      token_period: '1h',
    })
  })
  afterAll(async () => {
    await bao?.stop()
    await kubernetes?.stop()
  })

  function open(jwt: () => Promise<string>): VaultSession {
    return createVaultSession({
      address: bao.address,
      auth: { method: 'kubernetes', mount: 'cluster', role: 'writ', jwt: async () => new Secret(await jwt()) },
      clock: systemClock,
      log: silentLog,
    })
  }

  test('is let in by the API server’s word, and reads the projected token anew at each login', async () => {
    const tokens: string[] = []
    const session = open(async () => {
      tokens.push(await kubernetes.token())
      return tokens.at(-1) ?? ''
    })
    await session.start()
    expect(session.ready()).toEqual({ ok: true, detail: 'logged in' })
    const { data } = await session.read('auth/token/lookup-self')
    expect(data?.meta).toMatchObject({ service_account_name: 'broker', service_account_namespace: 'writ' })
    // The volume holds another token by the time of the next login, and the first is worth nothing any more.
    kubernetes.end(tokens[0] ?? '')
    await session.renewLogin()
    expect(session.generations().map(({ generation }) => generation)).toEqual([1, 2])
    expect(tokens).toHaveLength(2)
    await session.close()
  })

  test('is refused once the API server no longer vouches for it, and quotes nothing', async () => {
    const token = await kubernetes.token()
    kubernetes.end(token)
    const session = open(async () => token)
    await session.start()
    expect(session.ready()).toMatchObject({ ok: false, detail: expect.stringContaining('auth/cluster/login') })
    expect(session.ready().detail).not.toContain(token)
    await session.close()
  })
})
