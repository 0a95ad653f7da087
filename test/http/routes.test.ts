import { describe, expect, test } from 'vitest'
import { newId } from '../../src/base/ids.ts'
import { ok } from '../../src/base/result.ts'
import type { Broker } from '../../src/broker.ts'
import type { ApprovalView } from '../../src/contract/approval.ts'
import { issuedCredentialSchema, pendingApprovalSchema } from '../../src/contract/credential.ts'
import { timeText } from '../../src/contract/fields.ts'
import type { EndedGrant, GrantView } from '../../src/contract/grant.ts'
import type { TaskView } from '../../src/contract/task.ts'
import { approvalId, at, atMs, grantId, issued, readiness, send, taskId, testApp, token } from './harness.ts'

const grant: GrantView = {
  grant: grantId,
  status: 'active',
  outcome: null,
  workload: 'checkout',
  owner: 'payments',
  purpose: 'read-orders',
  environment: 'prod',
  credential: 'orders-ro',
  task: null,
  opened_at: at,
  issued_at: at,
  expires_at: at,
  ended_at: null,
  renewable: true,
  revocable: true,
  works_until: null,
  revocation: null,
  ids: [{ type: 'database_user', value: 'v-checkout-1' }],
  ledger: { intent: 1, issued: 2, ended: null },
}
const ended: EndedGrant = { grant: grantId, credential: 'orders-ro', outcome: 'revoked', latency_ms: 12 }
const task: TaskView = {
  task: taskId,
  workload: 'coder',
  purpose: 'fix-bug',
  intent: 'Look at one order',
  status: 'open',
  opened_at: at,
  expires_at: at,
  ended_at: null,
  heartbeat_due_at: null,
  heartbeat_seconds: null,
  run: null,
  grants: 0,
}
const approval: ApprovalView = {
  approval: approvalId,
  status: 'pending',
  level: 'owner',
  approvers: ['payments'],
  approved_by: [],
  workload: 'checkout',
  purpose: 'read-orders',
  credential: 'orders-ro',
  environment: 'prod',
  ttl_seconds: 900,
  reason: '',
  requested_at: at,
  expires_at: at,
  grant: null,
}
const entry = { index: 3, leaf_hash: 'ab', entry: { kind: 'task.opened' } }
const revocationId = newId('rev', atMs)
const renewed = { grant: grantId, expires_at: at, ttl_capped_by: [] }
const killed = { matched: 1, grants: [ended], dry_run: false, status: 'completed' }
const listed = { grants: [grant], next: null }
const entries = { entries: [entry], next: null }
const endedTask = { task: taskId, status: 'ended' as const, grants: [ended] }

const everyTerm = {
  kind: 'grant.issued',
  revocation: revocationId,
  workload: 'checkout',
  owner: 'payments',
  purpose: 'read-orders',
  environment: 'prod',
  credential: 'orders-ro',
  grant: grantId,
  task: taskId,
  approval: approvalId,
  policy: 'a'.repeat(64),
  request: 'rq_1',
  token: 'b'.repeat(64),
  code: 'engine_refused',
  subject: 'system:serviceaccount:orders:checkout',
  id: '39:dd:2e',
  from: at,
}

interface Case {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  readonly verb: keyof Broker
  /** What the broker is given after the caller. */
  readonly args: readonly unknown[]
  readonly value: unknown
  readonly status?: number
  /** What is answered, where it is not the value. */
  readonly answer?: unknown
}

const filter = { status: 'live', limit: 100 }
const cases: readonly Case[] = [
  { method: 'GET', path: `/v1/grants/${grantId}`, verb: 'grant', args: [grantId], value: grant },
  { method: 'GET', path: '/v1/grants', verb: 'grants', args: [filter], value: listed },
  {
    method: 'GET',
    path: `/v1/grants?workload=checkout&status=all&limit=5&task=${taskId}`,
    verb: 'grants',
    args: [{ workload: 'checkout', status: 'all', limit: 5, task: taskId }],
    value: listed,
  },
  {
    method: 'POST',
    path: `/v1/grants/${grantId}/renew`,
    body: { ttl: '5m' },
    verb: 'renew',
    args: [grantId, '5m'],
    value: renewed,
  },
  { method: 'POST', path: `/v1/grants/${grantId}/renew`, verb: 'renew', args: [grantId, undefined], value: renewed },
  {
    method: 'POST',
    path: `/v1/grants/${grantId}/revoke`,
    body: { reason: 'done' },
    verb: 'revoke',
    args: [grantId, 'done'],
    value: ended,
  },
  { method: 'POST', path: `/v1/grants/${grantId}/revoke`, verb: 'revoke', args: [grantId, undefined], value: ended },
  {
    method: 'POST',
    path: '/v1/revocations',
    body: { match: { all: true }, reason: 'breach' },
    verb: 'revokeMatching',
    args: [{ match: { all: true }, reason: 'breach' }],
    value: killed,
  },
  {
    method: 'POST',
    path: '/v1/revocations',
    body: { match: { workload: 'checkout' }, reason: 'breach', hold: '1h', wait: '5s' },
    verb: 'revokeMatching',
    args: [{ match: { workload: 'checkout' }, reason: 'breach', hold: '1h', wait: '5s' }],
    value: { ...killed, status: 'open' },
    status: 202,
  },
  { method: 'GET', path: '/v1/revocations', verb: 'revocations', args: [], value: { revocations: [] } },
  { method: 'GET', path: `/v1/revocations/${revocationId}`, verb: 'revocation', args: [revocationId], value: killed },
  {
    method: 'POST',
    path: `/v1/revocations/${revocationId}/lift`,
    body: { reason: 'rebuilt' },
    verb: 'liftRevocation',
    args: [revocationId, 'rebuilt'],
    value: killed,
  },
  {
    method: 'GET',
    path: `/v1/reports/revocation?from=${at}`,
    verb: 'revocationReport',
    args: [{ from: at }],
    value: { rows: [] },
  },
  {
    method: 'POST',
    path: '/v1/tasks',
    body: { purpose: 'fix-bug', intent: 'Look at one order' },
    verb: 'openTask',
    args: [{ purpose: 'fix-bug', intent: 'Look at one order' }, undefined],
    value: task,
    status: 201,
  },
  { method: 'GET', path: `/v1/tasks/${taskId}`, verb: 'task', args: [taskId], value: task },
  { method: 'POST', path: `/v1/tasks/${taskId}/heartbeat`, verb: 'heartbeat', args: [taskId], value: task },
  { method: 'POST', path: `/v1/tasks/${taskId}/heartbeat`, body: {}, verb: 'heartbeat', args: [taskId], value: task },
  {
    method: 'POST',
    path: `/v1/tasks/${taskId}/end`,
    body: { outcome: 'fixed' },
    verb: 'endTask',
    args: [taskId, { outcome: 'fixed' }],
    value: endedTask,
  },
  {
    method: 'GET',
    path: '/v1/approvals',
    verb: 'approvals',
    args: [],
    value: [approval],
    answer: { approvals: [approval] },
  },
  { method: 'GET', path: `/v1/approvals/${approvalId}`, verb: 'approval', args: [approvalId], value: approval },
  {
    method: 'POST',
    path: `/v1/approvals/${approvalId}/approve`,
    body: { reason: 'ok' },
    verb: 'approve',
    args: [approvalId, 'ok'],
    value: approval,
  },
  {
    method: 'POST',
    path: `/v1/approvals/${approvalId}/deny`,
    verb: 'denyApproval',
    args: [approvalId, undefined],
    value: approval,
  },
  { method: 'GET', path: '/v1/ledger/entries', verb: 'entries', args: [{ order: 'asc', limit: 100 }], value: entries },
  {
    method: 'GET',
    path: `/v1/ledger/entries?kind=grant.issued&from=${timeText(atMs)}&after=7&limit=1000`,
    verb: 'entries',
    args: [{ kind: 'grant.issued', from: at, after: 7, order: 'asc', limit: 1000 }],
    value: entries,
  },
  {
    method: 'GET',
    path: `/v1/ledger/entries?${new URLSearchParams(everyTerm)}&to=${at}&before=9&order=desc&limit=1`,
    verb: 'entries',
    args: [{ ...everyTerm, to: at, before: 9, order: 'desc', limit: 1 }],
    value: entries,
  },
  { method: 'GET', path: '/v1/ledger/entries/3', verb: 'entry', args: [3], value: entry },
  { method: 'GET', path: '/v1/ledger/entries/0', verb: 'entry', args: [0], value: entry },
  { method: 'POST', path: '/v1/policies/reload', verb: 'reloadPolicies', args: [], value: readiness.policy },
]

describe('each route hands the broker what was asked and answers with what it said', () => {
  test.each(cases)('$method $path', async ({ method, path, body, verb, args, value, status, answer }) => {
    const { app, calls } = testApp({ [verb]: async () => ok(value) })
    const response = await send(app, method, path, body)
    expect(await response.json()).toEqual(answer ?? value)
    expect(response.status).toBe(status ?? 200)
    expect(calls.map((call) => call.verb)).toEqual([verb])
    const requestId = response.headers.get('x-request-id')
    expect(calls[0]?.args).toEqual([{ token, requestId, ip: '' }, ...args])
    expect(requestId).toMatch(/^rq_[0-9a-hjkmnp-tv-z]{26}$/)
    expect(response.headers.get('cache-control')).toBe('no-store')
  })
})

describe('POST /v1/credentials', () => {
  const request = {
    purpose: 'read-orders',
    credential: 'orders-ro',
    ttl: '15m',
    task: taskId,
    reason: 'a\nb\tc',
    delivery: 'plain',
    params: { public_key: 'ssh-ed25519 AAAA' },
    approval: approvalId,
  }

  test('answers 201 with the secret and exactly the members of the contract', async () => {
    const { app, calls } = testApp({ issue: async () => ok(issued({ username: 'u', password: 'p' })) })
    const response = await send(app, 'POST', '/v1/credentials', request)
    expect(response.status).toBe(201)
    const body = issuedCredentialSchema.strict().parse(await response.json())
    expect(body.secret).toEqual({ username: 'u', password: 'p' })
    expect(calls[0]?.args[1]).toEqual(request)
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  test('answers 202 when a person must say yes', async () => {
    const pending = {
      approval: approvalId,
      status: 'pending' as const,
      approvers: ['payments'],
      expires_at: at,
      poll: `/v1/approvals/${approvalId}`,
    }
    const { app } = testApp({ issue: async () => ok({ status: 'pending', body: pending }) })
    const response = await send(app, 'POST', '/v1/credentials', { purpose: 'read-orders' })
    expect(response.status).toBe(202)
    expect(pendingApprovalSchema.strict().parse(await response.json())).toEqual(pending)
  })
})

describe('probes', () => {
  test('/healthz says that the process runs', async () => {
    const response = await testApp({}).app.request('/healthz')
    expect([response.status, await response.json()]).toEqual([200, { status: 'ok' }])
  })

  test.each([
    [{}, 200],
    [{ ready: false, vault: { ready: false, problem: 'sealed', tokens: [] } }, 503],
    [{ draining: true }, 503],
  ])('/readyz with %j is %i and shows the state of every dependency', async (change, status) => {
    const state = { ...readiness, ...change }
    const response = await testApp({}, { readiness: async () => state }).app.request('/readyz')
    expect([response.status, await response.json()]).toEqual([status, state])
  })

  test('/readyz that cannot be computed is a problem', async () => {
    const { app } = testApp(
      {},
      {
        async readiness() {
          throw new Error('no')
        },
      },
    )
    expect((await app.request('/readyz')).status).toBe(500)
  })
})

describe('methods and paths', () => {
  test.each([
    ['PUT', '/v1/credentials', 'POST'],
    ['GET', '/v1/credentials', 'POST'],
    ['DELETE', `/v1/grants/${grantId}`, 'GET, HEAD'],
    ['OPTIONS', '/v1/grants', 'GET, HEAD'],
    ['POST', '/healthz', 'GET, HEAD'],
  ])('%s %s is 405 with the methods that are allowed', async (method, path, allow) => {
    const response = await send(testApp({}).app, method, path)
    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe(allow)
    expect(await response.json()).toMatchObject({ code: 'method_not_allowed', status: 405 })
  })

  test('HEAD answers as GET does, without a body', async () => {
    const { app, calls } = testApp({ grant: async () => ok(grant) })
    const response = await send(app, 'HEAD', `/v1/grants/${grantId}`)
    expect([response.status, await response.text(), calls.length]).toEqual([200, '', 1])
  })

  test('no answer carries a CORS header, a preflight included', async () => {
    const { app } = testApp({ grants: async () => ok({ grants: [], next: null }) })
    const headers = {
      origin: 'https://evil.example',
      authorization: `Bearer ${token}`,
      'access-control-request-method': 'GET',
    }
    for (const method of ['OPTIONS', 'GET']) {
      const response = await app.request('/v1/grants', { method, headers })
      expect([...response.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
    }
  })

  test.each([
    '/',
    '/nope',
    '/v1',
    '/v1/credentials/',
    '/v1/grants/',
    '/V1/grants',
    `/v1/grants/${grantId}/`,
    `/v1/grants/${grantId}/other`,
    '/v1/grants/..%2f..%2fhealthz',
    '/v1/grants/%2e%2e',
    '/v1/grants/%00',
    `/v1/grants/${grantId}%00`,
    `/v1/grants/${grantId}%0a`,
    `/v1/grants/${grantId}%2frenew`,
    '/v1/grants/%zz',
    '/v1/grants/%ff',
    `/v1/grants/${taskId}`,
    `/v1/grants/${grantId.toUpperCase()}`,
    `/v1/grants/${'a'.repeat(4000)}`,
    '/v1/grants/__proto__',
    '/v1/grants/constructor',
    '/v1/ledger/entries/-1',
    '/v1/ledger/entries/1.5',
    '/v1/ledger/entries/1e3',
    '/v1/ledger/entries/0x1',
    '/v1/ledger/entries/01',
    '/v1/ledger/entries/9999999999999999',
    '/v1/ledger/entries/%31%00',
    '/docs/../v1/nope',
    '/docs/errors/x',
  ])('GET %s names nothing: 404, and the broker is not asked', async (path) => {
    const { app, calls } = testApp({})
    const response = await send(app, 'GET', path)
    const text = await response.text()
    expect([response.status, calls]).toEqual([404, []])
    expect(JSON.parse(text)).toMatchObject({ code: 'not_found', reasons: [] })
  })
})

describe('headers of every answer', () => {
  test.each(['/healthz', '/readyz', '/metrics', '/openapi.json', '/docs', '/docs/errors', '/v1/grants', '/nope'])(
    '%s',
    async (path) => {
      const { app } = testApp({})
      const { headers } = await app.request(path)
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('content-security-policy')).toMatch(/^default-src 'none'.*frame-ancestors 'none'$/)
      expect(headers.get('referrer-policy')).toBe('no-referrer')
      expect(headers.get('strict-transport-security')).toMatch(/^max-age=\d{8}/)
      expect(headers.get('x-powered-by')).toBeNull()
      expect(headers.get('server')).toBeNull()
      expect(headers.get('x-request-id')).toMatch(/^rq_/)
    },
  )

  test('a request id of the caller is not taken over', async () => {
    const { headers } = await testApp({}).app.request('/healthz', { headers: { 'x-request-id': 'rq_mine' } })
    expect(headers.get('x-request-id')).not.toBe('rq_mine')
  })

  test('a broker whose public URL is plain http promises no TLS', async () => {
    const { headers } = await testApp({}, { docsUrlBase: 'http://127.0.0.1:8787' }).app.request('/healthz')
    expect(headers.get('strict-transport-security')).toBeNull()
  })
})
