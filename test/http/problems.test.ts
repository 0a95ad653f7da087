import { describe, expect, test } from 'vitest'
import { type Code, codes } from '../../src/base/codes.ts'
import { BrokerFault } from '../../src/base/errors.ts'
import { refuse } from '../../src/base/result.ts'
import { problemSchema } from '../../src/contract/problem.ts'
import { docsUrlBase, grantId, send, testApp } from './harness.ts'

const all = Object.keys(codes) as Code[]
const request = { purpose: 'read-orders' }

describe('every public code', () => {
  test.each(all)('%s, as a refusal, has its status, its exact members and its headers', async (code) => {
    const detail = 'claim sub was "system:serviceaccount:a:b"'
    const { app } = testApp({ issue: async () => refuse(code, 'rule.name', detail) })
    const response = await send(app, 'POST', '/v1/credentials', request)
    const text = await response.text()
    const { status, title, detail: publicDetail, fix } = codes[code]
    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    const problem = problemSchema.strict().parse(JSON.parse(text))
    expect(problem).toEqual({
      type: `${docsUrlBase}/docs/errors#${code}`,
      title,
      status,
      code,
      detail: publicDetail,
      fix,
      request_id: response.headers.get('x-request-id'),
      reasons: status === 401 || status === 404 ? [] : ['rule.name'],
    })
    expect(text).not.toContain(detail)
    const challenge = response.headers.get('www-authenticate')
    if (code === 'token_missing') expect(challenge).toBe('Bearer realm="writ"')
    else if (code === 'proof_invalid')
      expect(challenge).toMatch(
        /^DPoP realm="writ", algs="ES256 [\w ]+", error="invalid_dpop_proof", error_description="[^"]+"$/,
      )
    else if (status === 401)
      expect(challenge).toMatch(/^Bearer realm="writ", error="invalid_token", error_description="[^"]+"$/)
    else expect(challenge).toBeNull()
    const retryAfter = response.headers.get('retry-after')
    if (status === 429 || status === 503) expect(Number(retryAfter)).toBeGreaterThanOrEqual(1)
    else expect(retryAfter).toBeNull()
  })

  test.each(all)('%s, as a fault, answers the same and keeps its message to the log', async (code) => {
    const { app, log } = testApp({
      async issue() {
        throw new BrokerFault(code, 'vault said 503 on auth/token/renew-self')
      },
    })
    const response = await send(app, 'POST', '/v1/credentials', request)
    const text = await response.text()
    expect(response.status).toBe(codes[code].status)
    expect(JSON.parse(text)).toMatchObject({ code, reasons: [] })
    expect(text).not.toContain('renew-self')
    expect(log.lines).toContainEqual(
      expect.objectContaining({
        event: 'fault',
        code,
        fault: 'vault said 503 on auth/token/renew-self',
        request_id: response.headers.get('x-request-id'),
      }),
    )
  })
})

test('a refusal names the rules that failed, in order, and none that passed', async () => {
  const { app } = testApp({
    issue: async () => ({
      ok: false,
      refusal: {
        code: 'condition_failed',
        reasons: [
          { rule: 'workload', ok: true, detail: 'checkout' },
          { rule: 'when', ok: false, detail: 'request.reason was empty' },
          { rule: 'guardrail production-high', ok: false, detail: 'x' },
        ],
      },
    }),
  })
  const response = await send(app, 'POST', '/v1/credentials', request)
  expect(await response.json()).toMatchObject({ reasons: ['when', 'guardrail production-high'] })
})

test.each([
  [{ code: 'limit_reached', reasons: [], retryAfterSeconds: 12.2 } as const, '13'],
  [{ code: 'draining', reasons: [], retryAfterSeconds: 0 } as const, '1'],
])('Retry-After is whole seconds and never zero', async (refusal, seconds) => {
  const { app } = testApp({ issue: async () => ({ ok: false, refusal }) })
  const response = await send(app, 'POST', '/v1/credentials', request)
  expect(response.headers.get('retry-after')).toBe(seconds)
})

test('a fault may say when to come back', async () => {
  const { app } = testApp({
    async issue() {
      throw new BrokerFault('vault_unavailable', 'sealed', { retryAfterSeconds: 30 })
    },
  })
  expect((await send(app, 'POST', '/v1/credentials', request)).headers.get('retry-after')).toBe('30')
})

describe('what is thrown by foreign code', () => {
  const secret = 'hvs.CAESIcanary'
  class VaultError extends Error {
    override readonly name = secret
  }

  test.each([
    [
      'an error that quotes a secret',
      () => new VaultError(`PUT failed: {"token":"${secret}"}\n    at ${secret} (x:1:1)`),
    ],
    [
      'an error with a secret in a property',
      () => Object.assign(new Error('x'), { code: secret, response: { body: secret } }),
    ],
    ['an error caused by one that quotes a secret', () => new Error('x', { cause: new Error(secret) })],
    [
      'our fault caused by one that quotes a secret',
      () => new BrokerFault('internal', 'minting', { cause: new Error(secret) }),
    ],
    ['a string', () => secret],
    ['an object', () => ({ secret })],
  ])('%s is a 500 whose log line holds none of it', async (_, make) => {
    const { app, log } = testApp({
      async grant() {
        throw make()
      },
    })
    const response = await send(app, 'GET', `/v1/grants/${grantId}`)
    const text = await response.text()
    expect(response.status).toBe(500)
    expect(JSON.parse(text)).toMatchObject({ code: 'internal', reasons: [] })
    expect(text + JSON.stringify(log.lines)).not.toContain(secret)
    const requestId = response.headers.get('x-request-id')
    expect(log.lines).toContainEqual(expect.objectContaining({ event: 'fault', request_id: requestId }))
  })

  test('its stack frames stay, so that the place can be found', async () => {
    const { app, log } = testApp({
      async grant() {
        throw new TypeError('secret text')
      },
    })
    await send(app, 'GET', `/v1/grants/${grantId}`)
    const fault = log.lines.find((line) => line.event === 'fault')
    expect(fault).toMatchObject({ error: 'TypeError' })
    expect(String(fault?.stack)).toContain('problems.test.ts')
  })

  test('a broker that throws before it returns a promise is a 500 too', async () => {
    const { app } = testApp({})
    expect((await send(app, 'GET', `/v1/grants/${grantId}`)).status).toBe(500)
  })
})
