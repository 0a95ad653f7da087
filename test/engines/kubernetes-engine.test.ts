import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decodeJwt, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Engine } from '../../src/engines/engine.ts'
import { baoAvailable, startBao, type TestBao } from '../support/bao.ts'
import { orderFor } from '../support/credential-order.ts'
import { engineUnderNeeds, field, handleOf } from '../support/leased-engine.ts'
import { strictly, type VaultApi, vaultApi } from '../support/vault-api.ts'
import { text } from '../support/vault-setup.ts'

type Asked = { readonly method: string; readonly path: string; readonly body: SentObject; readonly bearer: string }

/** What the double reads of an object that it is sent. */
interface SentObject {
  readonly name?: string
  readonly roleRef?: { readonly kind: string; readonly name: string }
  readonly subject?: { readonly kind: string; readonly name: string; readonly namespace: string }
  readonly audiences?: readonly string[]
  readonly expirationSeconds?: number
}

type Fields = ReadonlyMap<number, readonly (bigint | Buffer)[]>

/** The fields of a protobuf message by number: numbers, and whatever has a length. */
function fieldsOf(message: Buffer): Fields {
  const fields = new Map<number, (bigint | Buffer)[]>()
  let at = 0
  const varint = (): bigint => {
    for (let value = 0n, shift = 0n; ; shift += 7n) {
      const byte = BigInt(message[at++] ?? 0)
      value |= (byte & 127n) << shift
      if (byte < 128n) return value
    }
  }
  while (at < message.length) {
    const key = Number(varint())
    const value = varint()
    const isNumber = (key & 7) === 0
    const end = at + (isNumber ? 0 : Number(value))
    fields.set(key >> 3, [...(fields.get(key >> 3) ?? []), isNumber ? value : message.subarray(at, end)])
    at = end
  }
  return fields
}

/** Vault's client sends protobuf: `k8s\0`, then a `runtime.Unknown` with the object in its field 2. Numbers as in `generated.proto`. */
function sentObject(body: Buffer): SentObject {
  if (body.subarray(0, 4).toString('latin1') !== 'k8s\0') return {}
  const inside = (fields: Fields, number: number): Fields =>
    fieldsOf(Buffer.from((fields.get(number)?.[0] as Buffer) ?? ''))
  const word = (fields: Fields, number: number): string => String(fields.get(number)?.[0] ?? '')
  const envelope = fieldsOf(body.subarray(4))
  const object = inside(envelope, 2)
  const kind = word(inside(envelope, 1), 2)
  if (kind === 'TokenRequest') {
    const spec = inside(object, 2)
    return { audiences: (spec.get(1) ?? []).map(String), expirationSeconds: Number(spec.get(4)?.[0] ?? 0n) }
  }
  const name = word(inside(object, 1), 1)
  if (kind !== 'RoleBinding') return { name }
  const [subject, roleRef] = [inside(object, 2), inside(object, 3)]
  return {
    name,
    subject: { kind: word(subject, 1), name: word(subject, 3), namespace: word(subject, 4) },
    roleRef: { kind: word(roleRef, 2), name: word(roleRef, 3) },
  }
}

const core = '/api/v1/namespaces/shop'
const rbac = '/apis/rbac.authorization.k8s.io/v1/namespaces/shop'

/**
 * Not a Kubernetes: the few calls of its API that Vault's kubernetes engine makes, answered as the API reference has them. It
 * refuses a `TokenRequest` of less than ten minutes, as Kubernetes does, and signs tokens whose life `stretch` can lengthen.
 */
async function startApiDouble() {
  const { privateKey } = await generateKeyPair('RS256')
  const asked: Asked[] = []
  const accounts = new Set<string>(['deployer'])
  const state = { stretchSeconds: 0 }
  const status = (code: number, reason: string) => ({
    kind: 'Status',
    apiVersion: 'v1',
    status: 'Failure',
    code,
    reason,
  })

  async function answer({ method, path, body }: Asked): Promise<readonly [number, object]> {
    const name = body.name ?? ''
    if (method === 'DELETE') {
      accounts.delete(path.split('/').at(-1) ?? '')
      return [200, { kind: 'Status', apiVersion: 'v1', status: 'Success' }]
    }
    const metadata = { name, namespace: 'shop', uid: 'a3c1a0de-0000-4000-8000-000000000001' }
    if (path === `${rbac}/rolebindings`) {
      return [201, { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'RoleBinding', metadata }]
    }
    if (path === `${core}/serviceaccounts`) {
      accounts.add(name)
      return [201, { apiVersion: 'v1', kind: 'ServiceAccount', metadata }]
    }
    const account = new RegExp(`^${core}/serviceaccounts/([^/]+)/token$`).exec(path)?.[1] ?? ''
    const { expirationSeconds = 0, audiences = [] } = body
    if (!accounts.has(account)) return [404, status(404, 'NotFound')]
    if (expirationSeconds < 600) return [422, status(422, 'Invalid')]
    const seconds = Math.floor(Date.now() / 1000)
    const endsAt = seconds + expirationSeconds + state.stretchSeconds
    const token = await new SignJWT({ sub: `system:serviceaccount:shop:${account}`, aud: [...audiences] })
      .setProtectedHeader({ alg: 'RS256', kid: 'k' })
      .setIssuedAt(seconds)
      .setExpirationTime(endsAt)
      .sign(privateKey)
    const made = { token, expirationTimestamp: new Date(endsAt * 1000).toISOString() }
    return [201, { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {}, status: made }]
  }

  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => void chunks.push(chunk))
    request.on('end', async () => {
      const call = {
        method: request.method ?? '',
        path: new URL(request.url ?? '/', 'http://double').pathname,
        body: sentObject(Buffer.concat(chunks)),
        bearer: request.headers.authorization ?? '',
      }
      asked.push(call)
      const [code, body] = await answer(call)
      response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    accounts,
    state,
    async stop() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}

const generated = {
  engine: 'kubernetes',
  mount: 'kubernetes',
  role: 'viewer',
  params: { kubernetes_namespace: 'shop' },
}
const existing = { ...generated, role: 'deployer', service_account: 'existing' }
const tenMinutes = { ttlSeconds: 600 }

describe.skipIf(!baoAvailable())(
  'needs bao on PATH: tokens of service accounts, against a double of the Kubernetes API',
  () => {
    let double: Awaited<ReturnType<typeof startApiDouble>>
    let bao: TestBao
    let api: VaultApi
    let engine: Engine
    let close: (() => Promise<void>) | undefined

    beforeAll(async () => {
      ;[double, bao] = await Promise.all([startApiDouble(), startBao({ mode: 'dev' })])
      api = strictly(vaultApi(bao.address, bao.rootToken))
      await api('POST', 'sys/mounts/kubernetes', { type: 'kubernetes' })
      await api('POST', 'kubernetes/config', {
        kubernetes_host: double.url,
        service_account_jwt: 'vault-jwt',
        disable_local_ca_jwt: true,
      })
      const role = { allowed_kubernetes_namespaces: ['shop'], token_max_ttl: '1h' }
      await api('POST', 'kubernetes/roles/viewer', {
        ...role,
        kubernetes_role_name: 'view',
        kubernetes_role_type: 'ClusterRole',
      })
      await api('POST', 'kubernetes/roles/deployer', { ...role, service_account_name: 'deployer' })
      const made = await engineUnderNeeds(bao, api, [generated, existing])
      engine = made.engine
      close = made.close
    })
    afterAll(async () => {
      await close?.()
      await Promise.all([bao?.stop(), double?.stop()])
    })

    test('an account is made with its binding and a token for as long as was decided, and is deleted when revoked', async () => {
      const from = double.asked.length
      const params = { kubernetes_namespace: 'shop', audiences: ['registry', 'for-{{workload}}'] }
      const minted = await engine.mint(orderFor({ ...generated, params }, tenMinutes))
      const name = field(minted, 'service_account_name')
      const calls = double.asked.slice(from)
      expect(calls.map(({ method, path }) => `${method} ${path}`)).toEqual([
        `POST ${rbac}/rolebindings`,
        `POST ${core}/serviceaccounts`,
        `POST ${core}/serviceaccounts/${name}/token`,
      ])
      expect(calls[0]?.body).toMatchObject({
        roleRef: { kind: 'ClusterRole', name: 'view' },
        subject: { kind: 'ServiceAccount', name, namespace: 'shop' },
      })
      expect(calls[2]?.body).toEqual({ expirationSeconds: 600, audiences: ['registry', 'for-checkout'] })
      expect(new Set(calls.map(({ bearer }) => bearer))).toEqual(new Set(['Bearer vault-jwt']))
      expect(minted.publicIds).toEqual([{ type: 'service_account', value: `shop/${name}` }])
      expect(minted.renewable).toBe(false)
      expect(minted.expiresAtMs).toBeLessThanOrEqual(Date.now() + 600_000)
      expect(decodeJwt(field(minted, 'service_account_token')).aud).toEqual(['registry', 'for-checkout'])

      expect(double.accounts).toContain(name)
      const ended = double.asked.length
      await engine.revoke(handleOf(minted))
      expect(double.accounts).not.toContain(name)
      expect(
        double.asked
          .slice(ended)
          .map(({ method, path }) => `${method} ${path}`)
          .toSorted(),
      ).toEqual([`DELETE ${core}/serviceaccounts/${name}`, `DELETE ${rbac}/rolebindings/${name}`].toSorted())
      await engine.revoke(handleOf(minted))
    })

    test('wrapped, the account is deleted when the grant ends', async () => {
      const minted = await engine.mint(orderFor(generated, { ...tenMinutes, delivery: 'wrapped' }))
      const { body } = await vaultApi(bao.address, field(minted, 'token'))('POST', 'sys/wrapping/unwrap')
      const name = text(body, 'data', 'service_account_name')
      expect(double.accounts).toContain(name)
      await engine.revoke(handleOf(minted))
      await expect.poll(() => double.accounts.has(name), { timeout: 20_000 }).toBe(false)
    })

    test('a token of an account that exists ends by expiry only, and says so', async () => {
      const order = orderFor(existing, tenMinutes)
      expect(engine.revocable(order.target)).toBe(false)
      const minted = await engine.mint(order)
      expect(minted.handle).toBeUndefined()
      expect(minted.publicIds).toEqual([{ type: 'service_account', value: 'shop/deployer' }])
      const exp = decodeJwt(field(minted, 'service_account_token')).exp ?? 0
      expect(minted.expiresAtMs).toBeLessThanOrEqual(exp * 1000 + 1_000)
      expect(await engine.leases(order.target)).toBeUndefined()
      const wrapped = engine.mint(orderFor(existing, { ...tenMinutes, delivery: 'wrapped' }))
      await expect(wrapped).rejects.toMatchObject({ code: 'engine_refused' })
    })

    test('a token that outlives what was decided is handed to nobody, and its account is deleted', async () => {
      double.state.stretchSeconds = 3600
      try {
        const before = [...double.accounts]
        for (const document of [generated, existing]) {
          const error = await engine.mint(orderFor(document, tenMinutes)).catch((thrown: unknown) => thrown)
          expect(error).toMatchObject({ code: 'engine_refused' })
          expect(String(error)).toContain('outlives')
        }
        expect([...double.accounts]).toEqual(before)
        expect([...((await engine.leases(orderFor(generated).target)) ?? [])]).toEqual([])
      } finally {
        double.state.stretchSeconds = 0
      }
    })

    test('what Kubernetes or the role refuses is a refusal that leaves no lease behind', async () => {
      const brief = await engine.mint(orderFor(generated, { ttlSeconds: 60 })).catch((thrown: unknown) => thrown)
      expect(brief).toBeInstanceOf(Error)
      const elsewhere = { ...generated, params: { kubernetes_namespace: 'kube-system' } }
      const error = await engine.mint(orderFor(elsewhere, tenMinutes)).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'engine_refused' })
      expect([...((await engine.leases(orderFor(generated).target)) ?? [])]).toEqual([])
    })
  },
)
