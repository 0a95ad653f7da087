import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Claim } from '../../src/identity/identity.ts'
import { startWorld, type World } from '../support/broker.ts'
import { type Answer, type Call, callApi } from '../support/call-api.ts'
import { filesBelow, findSecrets, type Sink } from '../support/canaries.ts'
import { newPair, openJwe, type Pair, prove } from '../support/dpop.ts'
import { runWrit } from '../support/serve.ts'

const url = 'https://writ.example.com'
let world: World
let pair: Pair
let other: Pair
let folder: string
/** Every byte that the broker answered with, and every secret that was opened. */
const answers: Sink[] = []
const opened = new Map<string, string>()

beforeAll(async () => {
  ;[pair, other] = [await newPair(), await newPair('PS256')]
  folder = await mkdtemp(join(tmpdir(), 'writ-jwe-'))
  world = await startWorld({
    async policies({ edit }) {
      await edit('credentials/reports-ro.yaml', (text) => text.replace('[plain]', '[jwe]'))
      await edit('workloads/reporting-vendor.yaml', (text) => text.replace(/^ +when: .*\n/m, ''))
      await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 100'))
      await edit('workloads/order-repair.yaml', (text) => text.replace('active: 1, per_minute: 5', 'active: 50'))
    },
  })
})
afterAll(async () => {
  await world?.stop()
  await rm(folder, { recursive: true, force: true })
})

interface Proving extends Call {
  readonly as?: string
  readonly by?: Pair | undefined
  readonly claims?: Readonly<Record<string, Claim>>
  readonly proof?: Readonly<Record<string, unknown>>
  readonly scheme?: string
}

async function call(method: string, path: string, { as = 'checkout', by, claims, proof, scheme, ...rest }: Proving) {
  const token = rest.token ?? (await world.token(as, claims))
  const target = { method, url: `${url}${path.split('?')[0]}`, token, now: Date.now() / 1000 }
  const headers = {
    ...(scheme !== undefined && { authorization: `${scheme} ${token}` }),
    ...(by !== undefined && { dpop: await prove(by, target, proof) }),
    ...rest.headers,
  }
  const answer = await callApi(world.url, method, path, { ...rest, token, headers })
  answers.push({ name: `${method} ${path}`, bytes: Buffer.from(answer.text + JSON.stringify([...answer.headers])) })
  return answer
}
const issue = (body: object, options: Proving = {}) => call('POST', '/v1/credentials', { body, ...options })
const orders = { purpose: 'read-orders', delivery: 'jwe' }

async function opens(answer: Answer, by: Pair): Promise<Record<string, string>> {
  expect(answer.status, answer.text).toBe(201)
  expect(answer.body.delivery).toBe('jwe')
  expect(Object.keys(answer.body.secret)).toEqual(['jwe'])
  const { secret, header } = await openJwe(answer.body.secret.jwe ?? '', by)
  expect(header).toMatchObject({ kid: by.jkt, grant: answer.body.grant, enc: 'A256GCM', cty: 'json' })
  opened.set(`password of ${answer.body.grant}`, secret.password ?? '')
  return secret
}

async function refused(answer: Answer, rule: string): Promise<void> {
  expect(answer, answer.text).toMatchObject({ status: 401, body: { code: 'proof_invalid', reasons: [] } })
  expect(answer.headers.get('www-authenticate')).toMatch(/^DPoP .*algs="ES256 .*error="invalid_dpop_proof"/)
  const denied = await world.entries({ kind: 'request.denied', request: answer.body.request_id })
  const rules = denied[0]?.rules as { rule: string; ok: boolean }[]
  expect(rules.filter(({ ok }) => !ok).map((one) => one.rule)).toEqual([rule])
}

describe('delivery jwe', () => {
  test.each(['EC', 'RSA'])(
    'to an %s key: its holder logs in, and the record finds everything by the key',
    async (kind) => {
      const by = kind === 'EC' ? pair : other
      const answer = await issue(orders, { by })
      const secret = await opens(answer, by)
      expect(await world.login(secret)).toBe('in')
      const { grant } = answer.body
      const kinds = (await world.entries({ jkt: by.jkt })).filter((entry) => entry.grant === grant)
      expect(kinds).toMatchObject([
        { kind: 'grant.intent', delivery: 'jwe', jkt: by.jkt },
        { kind: 'grant.issued', jkt: by.jkt },
      ])
      // The next holder of the token renews and ends it without the key: nothing secret is in those answers.
      const renewed = await call('POST', `/v1/grants/${grant}/renew`, { body: { ttl: '20m' } })
      expect(renewed.status, renewed.text).toBe(200)
      const ended = await call('POST', `/v1/grants/${grant}/revoke`, {})
      expect(ended.body.outcome).toBe('revoked')
      expect(await world.login(secret)).toMatch(/^28/)
    },
  )

  test('needs a proof, and one by a key that can decrypt; nothing is minted without', async () => {
    const before = await world.leases('orders-ro')
    const without = await issue(orders)
    await refused(without, 'delivery')
    expect(without.body.fix).toMatch(/`DPoP` header/)
    const signing = await issue(orders, { by: await newPair('EdDSA') })
    expect(signing).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
    expect(signing.body.reasons.join(' ')).toMatch(/needs a proof by an EC or RSA key/)
    expect(await world.leases('orders-ro')).toEqual(before)
  })

  test('is what a Credential can demand: it cannot be left, and goes without saying', async () => {
    const vendor = { as: 'reporting-vendor' }
    await refused(await issue({ purpose: 'fetch-reports' }, vendor), 'delivery')
    for (const delivery of ['plain', 'wrapped']) {
      const answer = await issue({ purpose: 'fetch-reports', delivery }, { ...vendor, by: pair })
      expect(answer).toMatchObject({ status: 400, body: { code: 'request_invalid', reasons: ['delivery'] } })
    }
    await opens(await issue({ purpose: 'fetch-reports' }, { ...vendor, by: pair }), pair)
  })

  test('is not what a proof alone asks for: the first delivery of the Credential stays', async () => {
    const { status, body } = await issue({ purpose: 'read-orders' }, { by: pair })
    expect({ status, delivery: body.delivery }).toEqual({ status: 201, delivery: 'plain' })
    const [intent] = await world.entries({ grant: body.grant, kind: 'grant.intent' })
    expect(intent).toMatchObject({ delivery: 'plain', jkt: pair.jkt })
  })

  test('is approved for one key: neither another nor the open collects it', async () => {
    const body = { purpose: 'break-fix', reason: 'order 7 is half-written', delivery: 'jwe' }
    const as = 'order-repair'
    const asked = await issue(body, { as, by: pair })
    expect(asked.status, asked.text).toBe(202)
    const approval = asked.body.approval
    await world.api('POST', `/v1/approvals/${approval}/approve`, { as: 'alice@payments', body: { reason: 'seen' } })
    for (const [tried, by] of [
      [{ ...body, delivery: 'plain' }, pair],
      [{ ...body, delivery: 'wrapped' }, undefined],
      [body, other],
    ] as const) {
      const answer = await issue({ ...tried, approval }, { as, by })
      expect(answer, answer.text).toMatchObject({ status: 403, body: { code: 'approval_denied' } })
    }
    await opens(await issue({ ...body, approval }, { as, by: pair }), pair)
  })

  test('replaces, for a new key, what the lost answer of the same Idempotency-Key was about', async () => {
    const headers = { 'idempotency-key': 'start-of-pod-7' }
    const first = await issue(orders, { by: pair, headers })
    const secret = await opens(first, pair)
    await opens(await issue(orders, { by: other, headers }), other)
    expect(await world.login(secret)).toMatch(/^28/)
  })
})

describe('a proof over HTTP', () => {
  test('is good once, also for another route, and its second use costs a token nothing', async () => {
    const token = await world.token('checkout')
    const path = '/v1/grants'
    const dpop = await prove(pair, { method: 'GET', url: `${url}${path}`, token, now: Date.now() / 1000 })
    const send = () => callApi(world.url, 'GET', path, { token, headers: { dpop } })
    expect((await send()).status).toBe(200)
    await refused(await send(), 'proof.replay')
    expect((await call('GET', path, { token, by: pair })).status).toBe(200)
  })

  test('that is wrong is refused on every route for callers, whatever else would be answered', async () => {
    const document = await callApi(world.url, 'GET', '/openapi.json')
    const { paths } = document.body as unknown as {
      paths: Record<
        string,
        Record<string, { security: unknown[]; parameters?: { name: string; in: string }[]; requestBody?: object }>
      >
    }
    const bearer = Object.entries(paths).flatMap(([path, operations]) =>
      Object.entries(operations)
        .filter(([, { security }]) => security.length > 0)
        .map(([method, { requestBody }]) => ({ path, method: method.toUpperCase(), requestBody })),
    )
    expect(bearer.length).toBeGreaterThan(25)
    const ids: Record<string, string> = { tasks: 'tsk', approvals: 'ap', revocations: 'rev', grants: 'gr' }
    for (const { path, method, requestBody } of bearer) {
      const target = path
        .replace('{id}', `${ids[path.split('/')[2] ?? ''] ?? 'gr'}_00000000000000000000000000`)
        .replace('{index}', '0')
        .replace('{tile}', 'entries/000')
        .replace(/trace$/, 'trace?q=x')
      const answer = await call(method, target, { by: pair, proof: { htm: 'PUT' }, body: bodies[path] ?? {} })
      expect({ target, code: answer.body.code }, JSON.stringify(requestBody)).toEqual({ target, code: 'proof_invalid' })
    }
  })
  // Bodies that each route would take.
  const bodies: Record<string, object> = {
    '/v1/credentials': { purpose: 'read-orders' },
    '/v1/tasks': { purpose: 'read-orders', intent: 'look' },
    '/v1/revocations': { match: { workload: 'checkout' }, reason: 'a drill' },
    '/v1/policies/accept': { digest: '0'.repeat(64) },
    '/v1/ledger/archive': { before: 0 },
  }

  test.each<[string, string, Proving]>([
    ['the ath of another token', 'proof.token', { proof: { ath: 'A'.repeat(43) } }],
    [
      'the address it was reached at, and not its public name',
      'proof.target',
      { proof: { htu: 'http://127.0.0.1/v1/credentials' } },
    ],
    ['an iat of an hour ago', 'proof.age', { proof: { iat: Math.floor(Date.now() / 1000) - 3600 } }],
  ])('with %s is refused by %s', async (_, rule, options) => {
    await refused(await issue(orders, { by: pair, ...options }), rule)
  })

  test('in two headers is refused', async () => {
    const token = await world.token('checkout')
    const target = { method: 'GET', url: `${url}/v1/grants`, token, now: Date.now() / 1000 }
    const headers = { authorization: `Bearer ${token}`, dpop: [await prove(pair, target), await prove(pair, target)] }
    const status = await new Promise<number | undefined>((resolve, reject) => {
      httpRequest(`${world.url}/v1/grants`, { headers }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
        .on('error', reject)
        .end()
    })
    expect(status).toBe(401)
    const denied = await world.entries({ kind: 'request.denied', code: 'proof_invalid' })
    expect(denied.at(-1)).toMatchObject({
      rules: expect.arrayContaining([expect.objectContaining({ rule: 'proof.form', ok: false })]),
    })
  })

  test('comes with the scheme DPoP as well as with Bearer, and must come with the scheme DPoP', async () => {
    for (const scheme of ['DPoP', 'dpop', 'Bearer']) {
      expect((await call('GET', '/v1/grants', { by: pair, scheme })).status, scheme).toBe(200)
    }
    await refused(await call('GET', '/v1/grants', { scheme: 'DPoP' }), 'proof')
  })

  test('by its key must come with a token that is bound to one', async () => {
    const claims = { cnf: { jkt: pair.jkt } }
    await refused(await issue({ purpose: 'read-orders' }, { claims }), 'proof')
    await refused(await issue({ purpose: 'read-orders' }, { claims, by: other }), 'proof.binding')
    expect((await issue({ purpose: 'read-orders' }, { claims, by: pair })).status).toBe(201)
  })
})

describe('writ', () => {
  const writ = async ([name = '', ...args]: readonly string[], as = 'checkout', env: Record<string, string> = {}) =>
    runWrit([name, '--public-url', url, ...args], {
      env: { WRIT_URL: world.url, WRIT_TOKEN: await world.token(as), ...env },
    })
  const keyFile = async (name: string, key: KeyObject, type: 'jwk' | 'pem'): Promise<string> => {
    const text =
      type === 'jwk' ? JSON.stringify(key.export({ format: 'jwk' })) : key.export({ format: 'pem', type: 'pkcs8' })
    await writeFile(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }

  test('get --delivery jwe prints the secret in the open, and only its own process could open it', async () => {
    const { code, stdout, stderr } = await writ(['get', '--purpose', 'read-orders', '--delivery', 'jwe'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const issued = JSON.parse(stdout) as { grant: string; delivery: string; secret: Record<string, string> }
    expect(issued.delivery).toBe('jwe')
    opened.set('password of writ get', issued.secret.password ?? '')
    expect(await world.login(issued.secret)).toBe('in')
    expect(await world.entries({ grant: issued.grant, kind: 'grant.intent' })).toMatchObject([
      { delivery: 'jwe', jkt: expect.stringMatching(/^[\w-]{43}$/) },
    ])
  })

  test.each([
    ['P-256 JWK', 'jwk', () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey],
    ['P-384 PEM', 'pem', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey],
    ['P-521 JWK', 'jwk', () => generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey],
    ['RSA PEM', 'pem', () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
  ] as const)('get --dpop-key takes a %s, and the record names it', async (name, type, make) => {
    const file = await keyFile(name, make(), type)
    const args = ['get', '--purpose', 'read-orders', '--delivery', 'jwe', '--dpop-key', file]
    const [first, second] = [await writ(args), await writ(args)]
    expect({ code: first.code, stderr: first.stderr }).toEqual({ code: 0, stderr: '' })
    const grants = [first, second].map(({ stdout }) => (JSON.parse(stdout) as { grant: string }).grant)
    const intents = await Promise.all(grants.map((grant) => world.entries({ grant, kind: 'grant.intent' })))
    expect(intents[0]?.[0]?.jkt).toBe(intents[1]?.[0]?.jkt)
  })

  test('get says that an approval is for the key of the call, where that key is gone', async () => {
    const args = ['get', '--purpose', 'break-fix', '--reason', 'order 9 is half-written', '--delivery', 'jwe']
    const lost = await writ(args, 'order-repair')
    expect(lost.code).toBe(5)
    expect(lost.stderr).toMatch(
      /the approval is for the key of this call: ask with --wait, or with the same --dpop-key/,
    )
    const file = await keyFile('kept.jwk', generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey, 'jwk')
    const kept = await writ([...args, '--dpop-key', file], 'order-repair')
    const approval = (JSON.parse(kept.stdout) as { approval: string }).approval
    expect(kept.stderr).toContain(`--approval ${approval}`)
    await world.api('POST', `/v1/approvals/${approval}/approve`, { as: 'alice@payments', body: { reason: 'seen' } })
    const collected = await writ([...args, '--dpop-key', file, '--approval', approval], 'order-repair')
    expect({ code: collected.code, stderr: collected.stderr }).toEqual({ code: 0, stderr: '' })
  })

  test('exec --delivery jwe runs the command with the secret in the open, and hands it back after', async () => {
    const script = 'process.stdout.write(process.env.PGUSER + " " + process.env.PGPASSWORD.length)'
    const { code, stdout, stderr } = await writ([
      ...['exec', '--purpose', 'read-orders', '--delivery', 'jwe', '--env', 'PGUSER=username'],
      ...['--env', 'PGPASSWORD=password', '--', process.execPath, '-e', script],
    ])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^v-\S+ \d+$/)
    const [ended] = (await world.entries({ kind: 'grant.ended' })).slice(-1)
    expect(ended).toMatchObject({ cause: 'handed_back', outcome: 'revoked', jkt: expect.any(String) })
  })
})

test('the secrets that were opened are in no answer, no log and no file of the broker', async () => {
  expect([...opened.values()].every((secret) => secret.length > 12)).toBe(true)
  expect(opened.size).toBeGreaterThanOrEqual(7)
  const log = { name: 'log', bytes: Buffer.from(JSON.stringify(world.logged)) }
  const sinks = [...answers, log, ...(await filesBelow(world.ledger.dir))]
  expect(findSecrets(opened, sinks)).toEqual([])
  // The search finds what is there: the name of the database user is public and on record.
  const issued = (await world.entries({ kind: 'grant.issued' })).flatMap(({ ids }) => ids as { value: string }[])
  expect(findSecrets(new Map([['user', issued[0]?.value ?? '']]), sinks)).not.toEqual([])
})
