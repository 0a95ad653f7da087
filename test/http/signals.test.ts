import { expect, test } from 'vitest'
import { BrokerFault } from '../../src/base/errors.ts'
import { ok, refuse } from '../../src/base/result.ts'
import { setErrorSchema, setMediaType, signalPath } from '../../src/contract/signal.ts'
import { testApp } from './harness.ts'

const post = (app: ReturnType<typeof testApp>['app'], body: string, type: string | undefined = setMediaType) =>
  app.request(signalPath, { method: 'POST', body, headers: type === undefined ? {} : { 'content-type': type } })

test('a SET reaches the broker as it came, and what is taken is answered without a body', async () => {
  const { app, calls } = testApp({ receiveSignal: async () => ok(undefined) })
  for (const type of [setMediaType, 'Application/SecEvent+JWT', `${setMediaType}; charset=us-ascii`]) {
    const answer = await post(app, 'a.b.c', type)
    expect(answer.status).toBe(202)
    expect(await answer.text()).toBe('')
    expect(answer.headers.get('cache-control')).toBe('no-store')
  }
  expect(calls.map(({ args }) => args[0])).toEqual(['a.b.c', 'a.b.c', 'a.b.c'])
})

test('each refusal has its word of RFC 8935, and the checks stay in the record', async () => {
  for (const [refusal, err] of [
    [refuse('issuer_unknown', 'issuer', 'hunter2'), 'invalid_issuer'],
    [refuse('audience_mismatch', 'audience', 'hunter2'), 'invalid_audience'],
    [refuse('role_required', 'events', 'hunter2'), 'access_denied'],
    [refuse('token_invalid', 'key', 'hunter2'), 'invalid_key'],
    [refuse('token_invalid', 'signature', 'hunter2'), 'authentication_failed'],
    [refuse('token_invalid', 'algorithm', 'hunter2'), 'authentication_failed'],
    [refuse('token_invalid', 'type', 'hunter2'), 'invalid_request'],
    [refuse('token_too_old', 'issued_at', 'hunter2'), 'invalid_request'],
    [refuse('token_replayed', 'replay', 'hunter2'), 'invalid_request'],
    [refuse('request_invalid', 'events', 'hunter2'), 'invalid_request'],
  ] as const) {
    const answer = await post(testApp({ receiveSignal: async () => refusal }).app, 'a.b.c')
    const text = await answer.text()
    expect([answer.status, answer.headers.get('content-type')]).toEqual([400, 'application/json'])
    expect(answer.headers.get('content-language')).toBe('en')
    expect(setErrorSchema.parse(JSON.parse(text)).err).toBe(err)
    expect(text).not.toContain('hunter2')
  }
})

test('what never was a SET does not reach the broker', async () => {
  const { app, calls } = testApp({})
  for (const [body, type] of [
    ['a.b.c', 'application/jwt'],
    ['a.b.c', 'application/json'],
    ['x'.repeat(65_537), setMediaType],
  ] as const) {
    const answer = await post(app, body, type)
    expect(answer.status).toBe(400)
    expect(setErrorSchema.parse(await answer.json()).err).toBe('invalid_request')
  }
  expect(calls).toEqual([])
  expect((await app.request(signalPath)).status).toBe(405)
})

test('what fails inside is a problem that the transmitter sends again after', async () => {
  const thrown = testApp({
    receiveSignal: async () => {
      throw new BrokerFault('ledger_unavailable')
    },
  })
  const away = testApp({ receiveSignal: async () => refuse('state_unavailable', 'key', 'no keys') })
  for (const { app } of [thrown, away]) {
    const answer = await post(app, 'a.b.c')
    expect(answer.status).toBe(503)
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(answer.headers.get('retry-after')).not.toBeNull()
  }
})
