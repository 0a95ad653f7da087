import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { type Code, codes } from '../../src/base/codes.ts'
import { problemSchema } from '../../src/contract/problem.ts'
import { readinessSchema } from '../../src/contract/readiness.ts'
import { type SubjectEvent, setMediaType, signalPath } from '../../src/contract/signal.ts'
import { startWorld, type World } from '../support/broker.ts'
import { type Answer, type Call, callApi } from '../support/call-api.ts'
import { eventually } from '../support/child.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'

/** Codes that this version cannot give, and why. Whoever makes one possible takes it off this list. */
const notYet: Partial<Record<Code, string>> = {
  // Its own file: test/fault/disk.test.ts fills the disk under the real process.
  ledger_unavailable: 'see test/fault/disk.test.ts',
  // It takes a clock of its own.
  receipt_pending: 'see test/flow/record.test.ts',
}

let world: World
let proxy: TcpProxy
beforeAll(async () => {
  world = await startWorld({
    async policies({ write, edit }) {
      await write('workloads/cases.yaml', cases.map((each) => stringify(each)).join('---\n'))
      await write('credentials/case-key.yaml', stringify(caseKey))
      await write('issuers/away.yaml', stringify(away))
      await write('exceptions/case-exception.yaml', stringify(endedException))
      await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 50'))
    },
    config: (config) => ({
      ...config,
      vault: { ...config.vault, address: proxy.url },
      limits: { ...config.limits, concurrency: 2 },
    }),
    prepare: async (stack) => {
      proxy = await startProxy(stack.vault.address)
    },
  })
})
afterAll(async () => {
  proxy?.set('pass')
  await world?.stop()
  await proxy?.stop()
})

const purpose = (over: object = {}) => ({
  id: 'work',
  because: 'Show what is refused and why',
  environment: 'prod',
  credentials: ['orders-ro'],
  ttl: { default: '5m', max: '10m' },
  ...over,
})
const workload = (name: string, over: object = {}, own: object = {}) => ({
  kind: 'Workload',
  name,
  type: 'service',
  system: 'cases',
  owner: 'payments',
  backup: 'platform',
  custodian: 'sre',
  status: 'active',
  signoff: { by: 'alice@payments', on: '2026-11-02' },
  match: { issuer: 'cluster-eu', claims: { sub: `system:serviceaccount:cases:${name}` } },
  purposes: [purpose(own)],
  ...over,
})
const { signoff: _, ...unsigned } = workload('unsigned')
const cases = [
  workload('suspended', { status: 'suspended' }),
  unsigned,
  workload('ended', {}, { until: '2026-01-31' }),
  workload('two-credentials', {}, { credentials: ['orders-ro', 'internal-tls'] }),
  workload('in-tasks', {}, { task: { required: true } }),
  workload('conditional', {}, { when: 'request.reason != ""' }),
  workload('overdue', {}, { review: { every: '30d', last: '2025-01-01', by: 'alice@payments' } }),
  workload('limited', {}, { limits: { active: 1 } }),
  workload('paced', {}, { limits: { per_minute: 2 } }),
  workload('approved', {}, { approval: 'owner' }),
  workload('agent', { type: 'agent' }, { credentials: ['orders-rw'], approval: 'owner' }),
  workload('leaning', {}, { credentials: ['case-key'] }),
  workload('twin'),
  workload('twins', { match: { issuer: 'cluster-eu', claims: { sub: 'system:serviceaccount:cases:twins-a' } } }),
  workload('other-twin', { match: { issuer: 'cluster-eu', claims: { sub: 'system:serviceaccount:cases:twins-*' } } }),
]
// Its keys should be in a file that nobody has put there yet.
const away = {
  kind: 'Issuer',
  name: 'away',
  flavour: 'generic',
  url: 'https://away.example.com',
  audience: 'https://writ.example.com',
  algorithms: ['ES256'],
  keys: { jwks_file: './not-there-yet.json' },
  token: { max_age: '10m', replay: 'allow' },
}
const caseKey = {
  kind: 'Credential',
  name: 'case-key',
  engine: 'kv',
  mount: 'secret',
  path: 'vendor/case',
  keys: ['api_key'],
  environment: 'prod',
  sensitivity: 'low',
  data: ['nothing'],
}
const endedException = {
  kind: 'Exception',
  name: 'case-exception',
  relaxes: 'static_credential',
  workload: 'leaning',
  purpose: 'work',
  reason: 'The tool reads one key',
  compensating: 'Rotated weekly',
  requested_by: 'bob@payments',
  approved_by: 'carol@platform',
  until: '2026-01-31',
}

const seen = new Map<string, Answer>()
const seconds = (offset: number): number => Math.floor(Date.now() / 1000) + offset

/** What every problem has, whatever its code. */
function isProblem(answer: Answer, code: Code): void {
  const { status, title, detail, fix } = codes[code]
  expect(answer.body, answer.text).toMatchObject({ code, status, title, detail, fix })
  expect(answer.status).toBe(status)
  expect(answer.headers.get('content-type')).toBe('application/problem+json')
  expect(problemSchema.strict().safeParse(answer.body).error).toBeUndefined()
  expect(answer.body.type).toBe(`https://writ.example.com/docs/errors#${code}`)
  expect(answer.body.request_id).toMatch(/^rq_/)
  expect(answer.headers.get('cache-control')).toBe('no-store')
  expect(answer.headers.get('retry-after') === null).toBe(status !== 429 && status !== 503)
  expect(answer.headers.get('www-authenticate') === null).toBe(status !== 401)
  if (status === 401 || status === 404) expect(answer.body.reasons).toEqual([])
  seen.set(code, answer)
}

const issue = (as: string, body: object = { purpose: 'work' }, claims?: Parameters<World['issue']>[2]) =>
  world.issue(as, body, claims)
const withToken = async (token: string, call: Call = {}): Promise<Answer> =>
  world.api('POST', '/v1/credentials', { token, body: { purpose: 'read-orders' }, ...call })
const push = async (event: SubjectEvent, subject: string): Promise<void> => {
  const body = await world.stack.issuer.signal({ event, subject })
  const { status } = await callApi(world.url, 'POST', signalPath, { body, headers: { 'content-type': setMediaType } })
  expect(status).toBe(202)
}
const claimed = (claims: Record<string, string | number>) => world.token('checkout', claims).then(withToken)

describe('who calls', () => {
  const invalid = async (): Promise<Answer> => {
    const token = await world.token('checkout')
    const flipped = token.slice(0, -20) + (token.at(-20) === 'A' ? 'B' : 'A') + token.slice(-19)
    return withToken(flipped)
  }
  const replayed = async (): Promise<Answer> => {
    const token = await world.token('reporting-vendor')
    await withToken(token, { body: { purpose: 'fetch-reports' } })
    return withToken(token, { body: { purpose: 'fetch-reports' } })
  }
  const revoked = async (): Promise<Answer> => {
    const token = await world.token('erin@sre', { iat: seconds(-30) })
    await push('session-revoked', 'erin@sre')
    return withToken(token)
  }
  test.each<[Code, () => Promise<Answer>]>([
    ['session_revoked', revoked],
    ['token_missing', () => world.api('POST', '/v1/credentials', { body: { purpose: 'read-orders' } })],
    ['token_invalid', () => withToken('not.a.token')],
    ['token_invalid', invalid],
    ['token_expired', () => claimed({ exp: seconds(-60) })],
    ['token_not_yet_valid', () => claimed({ nbf: seconds(120) })],
    ['token_too_old', () => claimed({ iat: seconds(-1200) })],
    ['token_replayed', replayed],
    ['issuer_unknown', () => claimed({ iss: 'https://elsewhere.example' })],
    ['proof_invalid', () => world.token('checkout', { cnf: { jkt: 'A'.repeat(43) } }).then(withToken)],
    ['audience_mismatch', () => claimed({ aud: 'https://other.example.com' })],
  ])('%s', async (code, call) => isProblem(await call(), code))
})

describe('what it may have', () => {
  const stranger = {
    sub: 'system:serviceaccount:cases:stranger',
    'kubernetes.io.namespace': 'cases',
    'kubernetes.io.serviceaccount.name': 'stranger',
  }
  const denied = async (): Promise<Answer> => {
    const { body } = await issue('approved')
    await world.api('POST', `/v1/approvals/${body.approval}/deny`, { as: 'alice@payments' })
    return issue('approved', { purpose: 'work', approval: body.approval })
  }
  const disabled = async (): Promise<Answer> => {
    await push('account-disabled', 'ended')
    return issue('ended')
  }
  test.each<[Code, () => Promise<Answer>, string[]]>([
    ['workload_unknown', () => issue('twin', { purpose: 'work' }, stranger), ['workload.match']],
    ['workload_ambiguous', () => issue('twins'), ['workload.match']],
    ['workload_suspended', () => issue('suspended'), ['workload.status']],
    ['owner_missing', () => issue('unsigned'), ['workload.signoff']],
    ['purpose_unknown', () => issue('twin', { purpose: 'fun' }), ['purpose']],
    ['purpose_ended', () => issue('ended'), ['purpose.until']],
    ['credential_not_in_purpose', () => issue('two-credentials'), ['credential']],
    ['credential_not_in_purpose', () => issue('twin', { purpose: 'work', credential: 'orders-rw' }), ['credential']],
    ['task_required', () => issue('in-tasks'), ['purpose.task']],
    ['condition_failed', () => issue('conditional'), ['purpose.when']],
    ['condition_failed', () => issue('coding-agent', { purpose: 'investigate', reason: 'why' }), ['environment']],
    ['guardrail_denied', () => issue('agent'), ['guardrail production-high']],
    ['review_overdue', () => issue('overdue'), ['purpose.review']],
    ['exception_expired', () => issue('leaning'), ['exception case-exception']],
    ['approval_denied', denied, ['approval']],
    ['account_disabled', disabled, ['signals.account']],
    ['role_required', () => world.api('POST', '/v1/policies/reload', { as: 'alice@payments' }), ['policy.reload']],
  ])('%s', async (code, call, rules) => {
    const answer = await call()
    isProblem(answer, code)
    // The name of the rule, never what it was compared with.
    for (const rule of rules) expect(answer.body.reasons.join(' ')).toContain(rule)
    expect(answer.text).not.toContain('system:serviceaccount')
    const denied = await world.entries({ kind: 'request.denied' })
    const entry = denied.find(({ request }) => request === answer.body.request_id)
    expect(entry).toMatchObject({ code })
  })
})

describe('what it asks', () => {
  const raw = (call: Call, path = '/v1/credentials', method = 'POST') =>
    world.api(method, path, { as: 'checkout', ...call })
  const tooDeep = `{"purpose":"read-orders","params":${'{"a":'.repeat(200)}1${'}'.repeat(200)}}`
  const absent = '/v1/grants/gr_00000000000000000000000000'
  test.each<[Code, string, () => Promise<Answer>]>([
    ['request_invalid', 'no JSON', () => raw({ body: '{"purpose"' })],
    ['request_invalid', 'an unknown key', () => raw({ body: { purpose: 'read-orders', colour: 'blue' } })],
    ['request_invalid', 'a key twice', () => raw({ body: '{"purpose":"read-orders","purpose":"serve-tls"}' })],
    ['request_invalid', 'too deep', () => raw({ body: tooDeep })],
    ['request_invalid', 'a duration that is none', () => raw({ body: { purpose: 'read-orders', ttl: 'soon' } })],
    [
      'request_invalid',
      'a parameter it does not take',
      () => raw({ body: { purpose: 'read-orders', params: { a: 'b' } } }),
    ],
    ['request_invalid', 'an id with a way up', () => raw({}, '/v1/grants/..%2f..%2fetc/revoke')],
    ['too_large', 'more than 64 KiB', () => raw({ body: { purpose: 'read-orders', reason: 'x'.repeat(70_000) } })],
    ['media_type', 'a form', () => raw({ headers: { 'content-type': 'application/x-www-form-urlencoded' } })],
    ['not_found', 'a route that is not there', () => raw({}, '/v1/nothing', 'GET')],
    ['not_found', 'a grant that is not there', () => raw({}, absent, 'GET')],
    ['method_not_allowed', 'a verb that is not there', () => raw({}, '/v1/credentials', 'DELETE')],
    ['state_conflict', 'an approval that is pending', () => pending()],
  ])('%s: %s', async (code, _, call) => {
    const answer = await call()
    // A path that leads nowhere may be refused for its form or as not there; nothing else.
    if (answer.body.code === 'not_found' && code === 'request_invalid') return isProblem(answer, 'not_found')
    isProblem(answer, code)
  })
  const pending = async (): Promise<Answer> => {
    const { body } = await issue('approved', { purpose: 'work', reason: 'another' })
    return issue('approved', { purpose: 'work', reason: 'another', approval: body.approval })
  }

  test('issuance_held: everything of the workload was ordered to end', async () => {
    const order = { match: { workload: 'twin' }, reason: 'its image is compromised', hold: '1h' }
    const { body } = await world.api('POST', '/v1/revocations', { as: 'dana@security', body: order })
    isProblem(await issue('twin'), 'issuance_held')
    const lifted = await world.api('POST', `/v1/revocations/${body.revocation}/lift`, { as: 'dana@security' })
    expect(lifted.status, lifted.text).toBe(200)
    expect((await issue('twin')).status).toBe(201)
  })

  test('limit_reached: live credentials, and after one is handed back there is room again', async () => {
    const { body } = await issue('limited')
    const answer = await issue('limited')
    isProblem(answer, 'limit_reached')
    expect(answer.body.reasons).toEqual(['limits.active'])
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
    await world.api('POST', `/v1/grants/${body.grant}/revoke`, { as: 'limited' })
    expect((await issue('limited')).status).toBe(201)
  })

  test('limit_reached: of many at once no more than allowed get through', async () => {
    // Two requests at once are all that this broker takes, so they come one after the other per client.
    const answers: Answer[] = []
    await Promise.all([1, 2].map(async () => answers.push(await issue('paced'), await issue('paced'))))
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 201, 429, 429])
    const limited = answers.find(({ status }) => status === 429)
    expect(limited?.body.reasons).toEqual(['limits.per_minute'])
    const wait = Number(limited?.headers.get('retry-after'))
    expect(wait).toBeGreaterThan(0)
    expect(wait).toBeLessThanOrEqual(60)
  })
})

/** Takes a line out of every Vault policy the broker's token carries; returns what puts it back. */
async function withoutLine(start: string): Promise<() => Promise<unknown>> {
  const put = (name: string, policy: string) => world.root('PUT', `sys/policies/acl/${name}`, { policy })
  const before = await Promise.all(
    ['writ-broker', 'writ-wrapped'].map(async (name) => {
      const { body } = await world.root('GET', `sys/policies/acl/${name}`)
      return { name, policy: (body as { data: { policy: string } }).data.policy }
    }),
  )
  for (const { name, policy } of before) {
    const lines = policy.split('\n').filter((line) => !line.startsWith(start))
    expect((await put(name, lines.join('\n'))).status).toBe(204)
  }
  return () => Promise.all(before.map(({ name, policy }) => put(name, policy)))
}

describe('what it needs', () => {
  test('engine_refused: Vault answers no, and the record and the log say what the caller is not told', async () => {
    const restore = await withoutLine('path "database/creds/orders-ro"')
    const answer = await issue('twin')
    await restore()
    isProblem(answer, 'engine_refused')
    expect(answer.body.reasons).toEqual([])
    const failed = (await world.entries({ kind: 'grant.failed' })).find(
      ({ request }) => request === answer.body.request_id,
    )
    expect(failed).toMatchObject({ code: 'engine_refused', ambiguous: false })
    expect(failed?.detail).toContain('path "database/creds/orders-ro" { capabilities = ["read"] }')
    expect((await issue('twin')).status).toBe(201)
  })

  test('state_unavailable: the keys of its issuer are away, which holds up nobody else', async () => {
    isProblem(await claimed({ iss: away.url }), 'state_unavailable')
    const { status, body } = await world.api('GET', '/readyz')
    const unready = readinessSchema.parse(body).issuers.filter(({ ready }) => !ready)
    expect({ status, unready: unready.map(({ name }) => name) }).toEqual({ status: 200, unready: ['away'] })
  })

  test('vault_unavailable: down, and at once again when it is back', async () => {
    proxy.set('refuse')
    const answer = await issue('twin')
    proxy.set('pass')
    isProblem(answer, 'vault_unavailable')
    await eventually(async () => ((await issue('twin')).status === 201 ? true : undefined), 'Vault is back')
  })

  test('draining: full, and shutting down', async () => {
    proxy.set({ delayMs: 400 })
    const token = await world.token('twin')
    const busy = [1, 2].map(() => callApi(world.url, 'POST', '/v1/credentials', { token, body: { purpose: 'work' } }))
    await eventually(async () => (proxy.met >= 2 ? true : undefined), 'two requests are at work')
    isProblem(await issue('twin'), 'draining')
    expect((await Promise.all(busy)).map(({ status }) => status)).toEqual([201, 201])
    proxy.set('pass')

    // A request whose headers are on their way when the broker is told to stop: it is answered, and told to go elsewhere.
    const { hostname, port } = new URL(world.url)
    const socket = connect(Number(port), hostname).setEncoding('utf8')
    await once(socket, 'connect')
    socket.write('GET /v1/grants HTTP/1.1\r\nHost: writ.example.com\r\n')
    await callApi(world.url, 'GET', '/healthz')
    const stopping = world.restart()
    await eventually(async () => {
      await callApi(world.url, 'GET', '/healthz').catch(() => undefined)
      return true
    }, 'the stop is under way')
    socket.write(`Authorization: Bearer ${token}\r\n\r\n`)
    const [text] = (await once(socket, 'data')) as [string]
    expect(text).toMatch(/^HTTP\/1\.1 503 /)
    expect(text).toMatch(/"code":"draining"/)
    expect(text.toLowerCase()).toContain('connection: close')
    await stopping
    expect((await issue('twin')).status).toBe(201)
  })

  test('internal: a lease that cannot be opened any more is a fault of ours, and says nothing of why', async () => {
    const { body } = await issue('checkout', { purpose: 'read-orders' })
    const file = join(world.stack.dataDir, 'seal.key')
    const key = await readFile(file, 'utf8')
    await world.stopBroker()
    await writeFile(file, `${'ab'.repeat(32)}\n`)
    await world.restart()
    const answer = await world.api('POST', `/v1/grants/${body.grant}/renew`, { as: 'checkout', body: { ttl: '1h' } })
    await world.stopBroker()
    await writeFile(file, key)
    await world.restart()
    isProblem(answer, 'internal')
    expect(answer.body.detail).not.toMatch(/seal|key/)
    const again = await world.api('POST', `/v1/grants/${body.grant}/renew`, { as: 'checkout', body: { ttl: '1h' } })
    expect(again.status).toBe(200)
  })
})

test('no code is left out', () => {
  const missing = Object.keys(codes).filter((code) => !seen.has(code) && !Object.hasOwn(notYet, code))
  expect(missing).toEqual([])
  expect(Object.keys(notYet).filter((code) => seen.has(code))).toEqual([])
})
