import { resolve } from 'node:path'
import fc from 'fast-check'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { fillGlob, setClaim } from '../../src/dev/claims.ts'
import { type DevIssuer, startDevIssuer } from '../../src/dev/issuer.ts'
import { createVerifier, type Verifier } from '../../src/identity/verify.ts'
import type { PolicySet } from '../../src/policy/compile.ts'
import { loadPolicies } from '../../src/policy/load.ts'
import { compileGlob } from '../../src/policy/match.ts'
import { personOf, workloadsOf } from '../../src/policy/parties.ts'

const policiesDir = resolve(import.meta.dirname, '../../policies')

describe('the development issuer, for the policies that come with writ', () => {
  let set: PolicySet
  let issuer: DevIssuer
  let verifier: Verifier

  beforeAll(async () => {
    const loaded = await loadPolicies(policiesDir)
    if (!loaded.ok) throw new Error('the example policies do not load')
    set = loaded.set
    issuer = await startDevIssuer({ port: 0, clock: systemClock, policies: async () => set })
    verifier = createVerifier({
      issuers: () => set.issuers,
      clock: systemClock,
      log: silentLog,
      keysFor: issuer.keysFor,
      allowLoopbackHttp: true,
    })
  })
  afterAll(async () => {
    verifier?.close()
    await issuer?.stop()
  })

  const ask = async (
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; token?: string; error?: string }> => {
    const response = await fetch(`${issuer.url}/dev/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    return { status: response.status, ...((await response.json()) as object) }
  }

  test('a token for every workload verifies and is that workload and no other', async () => {
    expect(set.workloads.length).toBeGreaterThan(3)
    for (const { name } of set.workloads) {
      const { result, reasons } = await verifier.explain(await issuer.token({ as: name }))
      expect(result.ok, `${name}: ${JSON.stringify(reasons.at(-1))}`).toBe(true)
      if (result.ok) expect(workloadsOf(set, result.value)).toEqual([name])
    }
  })

  test('and it is of an environment that one of its purposes has', async () => {
    for (const { name, policy } of set.workloads) {
      const { result } = await verifier.explain(await issuer.token({ as: name }))
      const environments = policy.purposes.map((purpose) => purpose.environment)
      if (result.ok) expect([undefined, ...environments]).toContain(result.value.environment)
    }
  })

  test('a token for every person verifies and is that person', async () => {
    const people = set.teams.flatMap((team) => team.members.map(({ subject }) => ({ subject, team: team.name })))
    expect(people.length).toBeGreaterThan(3)
    for (const { subject, team } of people) {
      const { result } = await verifier.explain(await issuer.token({ as: subject }))
      expect(result.ok && personOf(set, result.value)?.teams).toContain(team)
    }
  })

  test('it carries the `iss` and the audience of the Issuer document, and the shape of its platform', async () => {
    const token = await issuer.token({ as: 'checkout' })
    expect(decodeJwt(token)).toMatchObject({
      iss: 'https://kubernetes.default.svc',
      aud: ['https://writ.example.com'],
      sub: 'system:serviceaccount:orders:checkout',
      'kubernetes.io': { namespace: 'orders', serviceaccount: { name: 'checkout' }, pod: { uid: expect.any(String) } },
      jti: expect.any(String),
    })
    const job = decodeJwt(await issuer.token({ as: 'shop-deploy' }))
    expect(job).toMatchObject({
      repository_id: expect.stringMatching(/^\d+$/),
      repository_owner_id: expect.stringMatching(/^\d+$/),
      run_id: expect.stringMatching(/^\d+$/),
      runner_environment: 'github-hosted',
    })
  })

  test('claims given win over those of the workload, at any depth', async () => {
    const token = await issuer.token({
      as: 'checkout',
      claims: { aud: 'elsewhere', 'kubernetes.io.namespace': 'other', extra: { deep: [1] } },
      ttlSeconds: 60,
    })
    const claims = decodeJwt(token)
    expect(claims).toMatchObject({ aud: 'elsewhere', 'kubernetes.io': { namespace: 'other' }, extra: { deep: [1] } })
    expect(Number(claims.exp) - Number(claims.iat)).toBe(60)
    expect((await verifier.verify(token)).ok).toBe(false)
  })

  test('after a rotation new tokens verify with the new key, and old ones with the old', async () => {
    const before = await issuer.token({ as: 'checkout' })
    await issuer.rotate()
    const after = await issuer.token({ as: 'checkout' })
    expect(decodeProtectedHeader(after).kid).not.toBe(decodeProtectedHeader(before).kid)
    const fresh = createVerifier({
      issuers: () => set.issuers,
      clock: systemClock,
      log: silentLog,
      keysFor: issuer.keysFor,
      allowLoopbackHttp: true,
    })
    expect((await fresh.verify(before)).ok).toBe(true)
    expect((await fresh.verify(after)).ok).toBe(true)
    fresh.close()
  })

  test('discovery names the issuer and where its keys are, and no private part of them', async () => {
    const found = (await (await fetch(`${issuer.url}/.well-known/openid-configuration`)).json()) as Record<
      string,
      string
    >
    expect(found).toMatchObject({ issuer: issuer.url, jwks_uri: issuer.jwksUrl })
    const { keys } = (await (await fetch(found.jwks_uri ?? '')).json()) as { keys: Record<string, unknown>[] }
    expect(keys.length).toBeGreaterThan(0)
    for (const key of keys) for (const secret of ['d', 'p', 'q', 'k']) expect(key).not.toHaveProperty(secret)
  })

  test('over HTTP: an unknown name gets the nearest one, bad bodies get a reason', async () => {
    expect(await ask({ as: 'chekout' })).toMatchObject({ status: 400, error: expect.stringContaining('checkout') })
    for (const body of [
      '{bad',
      '[]',
      { as: 7 },
      { surprise: 1 },
      { as: 'checkout', ttl: 'soon' },
      'x'.repeat(100_000),
    ]) {
      expect(await ask(body)).toMatchObject({ status: 400, error: expect.any(String) })
    }
    expect((await ask({ as: 'checkout' })).status).toBe(200)
  })

  test('a page in a browser gets no token: not with an Origin, not under another host name', async () => {
    expect(await ask({ as: 'checkout' }, { origin: 'https://evil.example' })).toMatchObject({ status: 403 })
    const { request } = await import('node:http')
    const status = await new Promise<number | undefined>((done, fail) => {
      const call = request(
        `${issuer.url}/dev/token`,
        { method: 'POST', headers: { host: 'evil.example' } },
        (answer) => {
          answer.resume()
          done(answer.statusCode)
        },
      )
      call.once('error', fail)
      call.end('{"as":"checkout"}')
    })
    expect(status).toBe(403)
  })

  test('an issuer whose keys are written in its policy is left to those keys', async () => {
    const [first] = set.issuers
    if (first === undefined) throw new Error('no issuer')
    const inline = { ...first, keys: { jwks: { keys: [{ kty: 'EC' }] } } }
    expect(issuer.keysFor(inline)).toBe(inline.keys)
    expect(issuer.keysFor({ ...first, keys: { discovery: true } })).toEqual({ jwks_url: issuer.jwksUrl })
    const own = { ...set, issuers: [inline], byName: { ...set.byName, issuer: new Map() } }
    const strict = await startDevIssuer({ port: 0, clock: systemClock, policies: async () => own })
    try {
      await expect(strict.token({ iss: inline.url })).rejects.toThrow('keys of its own')
    } finally {
      await strict.stop()
    }
  })
})

describe('claims', () => {
  const segment = fc.stringMatching(/^[a-z0-9.-]{0,6}$/)
  const part = fc.oneof(
    segment,
    fc.tuple(segment, segment).map(([head, tail]) => `${head}*${tail}`),
  )
  const separator = fc.constantFrom('/', ':')

  test('a filled glob is matched by the glob it came from', () => {
    fc.assert(
      fc.property(part, fc.array(fc.tuple(separator, part), { maxLength: 6 }), (first, rest) => {
        const pattern = first + rest.map(([mark, text]) => mark + text).join('')
        expect(compileGlob(pattern)(fillGlob(pattern))).toBe(true)
      }),
    )
  })

  test('a claim whose name holds dots is set as a whole, and one that is a URL too', () => {
    expect(setClaim({ 'kubernetes.io': { pod: { uid: '1' } } }, 'kubernetes.io.pod.uid', '2')).toEqual({
      'kubernetes.io': { pod: { uid: '2' } },
    })
    expect(setClaim({}, 'a.b', 1)).toEqual({ a: { b: 1 } })
    expect(setClaim({}, 'https://a.example/x.y', 1)).toEqual({ 'https://a.example/x.y': 1 })
  })
})
