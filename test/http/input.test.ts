import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ok, refuse } from '../../src/base/result.ts'
import type { App } from '../../src/http/app.ts'
import { granted, grantId, send, testApp, token } from './harness.ts'

const path = '/v1/credentials'
const good = '{"purpose":"read-orders"}'

async function post(
  app: App,
  body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null,
  headers: Record<string, string> = {},
): Promise<Response> {
  const sent = { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers }
  return app.request(path, {
    method: 'POST',
    headers: sent,
    body,
    ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
  })
}

async function refusal(response: Response): Promise<{ status: number; code: unknown; reasons: unknown }> {
  const { code, reasons } = (await response.json()) as Record<string, unknown>
  return { status: response.status, code, reasons }
}

describe('a body that is not what the route takes is refused before the broker is asked', () => {
  const nested = (depth: number): string => `{"purpose":"a","params":${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}}`
  test.each([
    ['empty', '', 'body: a JSON object is needed'],
    ['blank', ' \n', 'body: it is not JSON'],
    ['not JSON', 'purpose=orders', 'body: it is not JSON'],
    ['cut off', '{"purpose":"read-or', 'body: it is not JSON'],
    ['two documents', `${good}${good}`, 'body: it is not JSON'],
    ['with a byte order mark', `\ufeff${good}`, 'body: it is not JSON'],
    ['with a comment', `${good} // x`, 'body: it is not JSON'],
    ['with a trailing comma', '{"purpose":"a",}', 'body: it is not JSON'],
    ['NaN', '{"purpose":NaN}', 'body: it is not JSON'],
    ['a string', '"read-orders"', 'body: Invalid input: expected object, received string'],
    ['an array', `[${good}]`, 'body: Invalid input: expected object, received array'],
    ['null', 'null', 'body: Invalid input: expected object, received null'],
    ['too deep', nested(5000), 'body: it is nested too deeply'],
    [
      'with too many members',
      `{"purpose":"a","params":{${Array.from({ length: 600 }, (_, i) => `"a${i}":"1"`)}}}`,
      'body: it has too many members',
    ],
    ['with a name twice', '{"purpose":"a","purpose":"b"}', 'body: an object names the same member twice'],
    [
      'with a name twice, once escaped',
      '{"purpose":"a","p\\u0075rpose":"b"}',
      'body: an object names the same member twice',
    ],
    [
      'with a nested name twice',
      '{"purpose":"a","params":{"a":"1","a":"2"}}',
      'body: an object names the same member twice',
    ],
    ['with __proto__', '{"purpose":"a","__proto__":{}}', 'body: an object has a member named __proto__'],
    ['with half a surrogate pair', '{"purpose":"a","reason":"\\ud800"}', 'body: a string holds half a surrogate pair'],
    ['with an unknown field', '{"purpose":"a","duration":"5m"}', 'body: unknown field "duration"'],
    ['with two unknown fields', '{"purpose":"a","x":1,"y":2}', 'body: unknown fields "x", "y"'],
    ['without purpose', '{"ttl":"5m"}', 'purpose: Invalid input: expected string, received undefined'],
    ['with a number for a name', '{"purpose":5}', 'purpose: Invalid input: expected string, received number'],
    [
      'with a path for a name',
      '{"purpose":"../../secret"}',
      'purpose: a name: lower-case letters, digits and inner hyphens, at most 63',
    ],
    [
      'with a template for a name',
      '{"purpose":"{{workload}}"}',
      'purpose: a name: lower-case letters, digits and inner hyphens, at most 63',
    ],
    [
      'with a newline in a name',
      '{"purpose":"a\\nb"}',
      'purpose: a name: lower-case letters, digits and inner hyphens, at most 63',
    ],
    ['with an odd duration', '{"purpose":"a","ttl":"15 minutes"}', 'ttl: a duration such as 30s, 15m, 1h or 90d'],
    ['with a negative duration', '{"purpose":"a","ttl":"-5m"}', 'ttl: a duration such as 30s, 15m, 1h or 90d'],
    ['with a NUL in text', '{"purpose":"a","reason":"a\\u0000"}', 'reason: no control characters'],
    [
      'with long text',
      `{"purpose":"a","reason":"${'x'.repeat(501)}"}`,
      'reason: Too big: expected string to have <=500 characters',
    ],
    [
      'with an unknown delivery',
      '{"purpose":"a","delivery":"email"}',
      'delivery: Invalid option: expected one of "plain"|"wrapped"|"jwe"',
    ],
    ['with a foreign id', `{"purpose":"a","task":"${grantId}"}`, 'task: a task id'],
    [
      'with a number for a parameter',
      '{"purpose":"a","params":{"ttl":5}}',
      'params.ttl: Invalid input: expected string, received number',
    ],
  ])('%s', async (_, body, reason) => {
    const { app, calls } = testApp({})
    expect(await refusal(await post(app, body))).toEqual({ status: 400, code: 'request_invalid', reasons: [reason] })
    expect(calls).toEqual([])
  })

  test('not UTF-8', async () => {
    const { app, calls } = testApp({})
    const bytes = Buffer.from(good.replace('read', 're\xe4d'), 'latin1')
    expect(await refusal(await post(app, bytes))).toMatchObject({ status: 400, reasons: ['body: it is not UTF-8'] })
    expect(calls).toEqual([])
  })

  test('every issue is named at once, and at most sixteen', async () => {
    const { app } = testApp({})
    const some = await refusal(await post(app, '{"purpose":1,"ttl":2,"extra":3}'))
    expect(some.reasons).toHaveLength(3)
    const params = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`p${i}`, i]))
    const many = await refusal(await post(app, JSON.stringify({ purpose: 'a', params })))
    expect(many.reasons).toHaveLength(16)
  })

  test('no value and no name that could be one is ever repeated', async () => {
    const { app, log } = testApp({})
    const canary = 'hvs.CAESIJcanary0'
    const spots = [
      { purpose: canary },
      { purpose: 'a', [canary]: 1 },
      { purpose: 'a', params: { [canary]: '1' } },
      { purpose: 'a', params: { key: { [canary]: canary } } },
      { purpose: 'a', delivery: canary },
      { purpose: 'a', ttl: canary },
      { purpose: 'a', task: canary, approval: canary },
      canary,
      [canary],
    ]
    for (const spot of spots) {
      const response = await post(app, JSON.stringify(spot))
      expect(response.status).toBe(400)
      expect(await response.text()).not.toContain('canary')
    }
    expect(JSON.stringify(log.lines)).not.toContain('canary')
  })

  test('whatever the body is, the answer is a success of the broker or a problem of ours, never a fault', async () => {
    const { app, log } = testApp({ issue: async () => refuse('purpose_unknown', 'purpose', '') })
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.json(), fc.string({ unit: 'binary' }), fc.constant(good)), async (body) => {
        const response = await post(app, body)
        expect([400, 403]).toContain(response.status)
      }),
      { numRuns: 300 },
    )
    expect(log.lines.filter((line) => line.event === 'fault')).toEqual([])
  })
})

describe('size', () => {
  const sized = (bytes: number): string =>
    `{"purpose":"read-orders","params":{"a":"${'x'.repeat(16_000)}"}}`.padEnd(bytes)
  const stream = (text: string, chunk: number): ReadableStream<Uint8Array> =>
    ReadableStream.from(
      (function* () {
        const bytes = Buffer.from(text)
        for (let from = 0; from < bytes.length; from += chunk) yield bytes.subarray(from, from + chunk)
      })(),
    )

  test('64 KiB is taken, whole or in pieces', async () => {
    const { app } = testApp({ issue: granted })
    expect((await post(app, sized(65_536))).status).toBe(201)
    expect((await post(app, stream(sized(65_536), 1000))).status).toBe(201)
  })

  test('one byte more is refused, by its declared length and by counting', async () => {
    const { app, calls } = testApp({})
    const wanted = { status: 413, code: 'too_large', reasons: ['body: more than 65536 bytes'] }
    expect(await refusal(await post(app, good, { 'content-length': '65537' }))).toEqual(wanted)
    expect(await refusal(await post(app, stream(sized(65_537), 1000)))).toEqual(wanted)
    expect(calls).toEqual([])
  })

  test('a body without end is not read to its end', async () => {
    let made = 0
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        made++
        controller.enqueue(new Uint8Array(8192))
      },
    })
    const { app } = testApp({})
    expect((await post(app, endless)).status).toBe(413)
    expect(made).toBeLessThan(20)
  })

  test('a body that breaks off is refused', async () => {
    const { app } = testApp({})
    const broken = new ReadableStream({
      pull(controller) {
        controller.error(new Error('gone'))
      },
    })
    expect(await refusal(await post(app, broken))).toMatchObject({
      status: 400,
      reasons: ['body: it did not arrive whole'],
    })
  })
})

describe('media type', () => {
  test.each([
    'application/json',
    'Application/JSON',
    'application/json; charset=utf-8',
    'application/json;charset="UTF-8"',
  ])('%s is taken', async (type) => {
    const { app } = testApp({ issue: granted })
    expect((await post(app, good, { 'content-type': type })).status).toBe(201)
  })

  test.each([
    'text/plain',
    'text/json',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/json; charset=iso-8859-1',
    'application/json; charset=utf-16',
    'application/json, text/plain',
    'application/jsonx',
    'application/vnd.api+json',
    'application/json; profile=x',
  ])('%s is refused with 415', async (type) => {
    const { app, calls } = testApp({})
    expect(await refusal(await post(app, good, { 'content-type': type }))).toMatchObject({
      status: 415,
      code: 'media_type',
    })
    expect(calls).toEqual([])
  })

  test('a body without a type is refused with 415', async () => {
    const { app } = testApp({})
    const headers = { authorization: `Bearer ${token}` }
    const response = await app.request(path, { method: 'POST', headers, body: Buffer.from(good) })
    expect(response.status).toBe(415)
  })

  test('a compressed body is refused with 415: it is never inflated', async () => {
    const { app } = testApp({})
    expect((await post(app, good, { 'content-encoding': 'gzip' })).status).toBe(415)
  })
})

describe('bearer token (RFC 6750)', () => {
  const ask = (app: App, authorization: string | undefined): Promise<Response> =>
    Promise.resolve(app.request('/v1/approvals', authorization === undefined ? {} : { headers: { authorization } }))

  test.each([undefined, '', 'Basic dXNlcjpwYXNz', 'DPoP', 'Bearer', 'bearer', token])(
    '%j is token_missing',
    async (header) => {
      const { app, calls } = testApp({})
      expect(await refusal(await ask(app, header))).toEqual({ status: 401, code: 'token_missing', reasons: [] })
      expect(calls).toEqual([])
    },
  )

  test.each([`Bearer ${token}, Bearer ${token}`, 'Bearer a b', 'Bearer "a"', 'Bearer a=b', 'Bearer ä'])(
    '%j is token_invalid',
    async (header) => {
      const { app, calls } = testApp({})
      expect(await refusal(await ask(app, header))).toEqual({ status: 401, code: 'token_invalid', reasons: [] })
      expect(calls).toEqual([])
    },
  )

  test.each(['Bearer', 'bearer', 'BEARER'])('the scheme %s is taken in any case', async (scheme) => {
    const { app, calls } = testApp({ approvals: async () => ok([]) })
    expect((await ask(app, `${scheme} ${token}`)).status).toBe(200)
    expect(calls[0]?.args[0]).toMatchObject({ token })
  })

  test('16 KiB of token is taken and one byte more is too_large', async () => {
    const { app } = testApp({ approvals: async () => ok([]) })
    expect((await ask(app, `Bearer ${'a'.repeat(16_384)}`)).status).toBe(200)
    expect(await refusal(await ask(app, `Bearer ${'a'.repeat(16_385)}`))).toMatchObject({
      status: 413,
      code: 'too_large',
    })
  })

  test('a token in the query or the body is not looked at', async () => {
    const { app } = testApp({})
    expect((await app.request(`/v1/approvals?access_token=${token}`)).status).toBe(401)
  })

  test('a stranger without a token is answered before the body is read', async () => {
    const { app } = testApp({})
    const response = await app.request(path, { method: 'POST', body: '{', headers: { 'content-type': 'text/plain' } })
    expect(response.status).toBe(401)
  })
})

describe('query', () => {
  test.each([
    ['limit=0', 'limit: Too small: expected number to be >=1'],
    ['limit=501', 'limit: Too big: expected number to be <=500'],
    ['limit=x', 'limit: Invalid input: expected number, received NaN'],
    ['status=dead', 'status: Invalid option: expected one of "live"|"ended"|"all"|"expires_only"'],
    ['nope=1', 'query: unknown field "nope"'],
    ['status=all&status=live', 'query: a name is given twice'],
    ['workload=..%2f', 'workload: a name: lower-case letters, digits and inner hyphens, at most 63'],
    ['workload=%00', 'workload: a name: lower-case letters, digits and inner hyphens, at most 63'],
    ['__proto__=1', 'query: unknown field "__proto__"'],
    ['constructor=1', 'query: unknown field "constructor"'],
  ])('?%s is refused', async (query, reason) => {
    const { app, calls } = testApp({})
    const response = await send(app, 'GET', `/v1/grants?${query}`)
    expect(await refusal(response)).toEqual({ status: 400, code: 'request_invalid', reasons: [reason] })
    expect(calls).toEqual([])
  })

  test.each([
    ['after=', 'after: the index of an entry'],
    ['after=-1', 'after: the index of an entry'],
    ['after=1e3', 'after: the index of an entry'],
    ['before=9999999999999999', 'before: the index of an entry'],
    ['limit=1001', 'limit: Too big: expected number to be <=1000'],
    ['limit=1e9', 'limit: Too big: expected number to be <=1000'],
    ['order=random', 'order: Invalid option: expected one of "asc"|"desc"'],
    ['from=yesterday', 'from: Invalid ISO datetime'],
    ['from=2026-11-22T12:00:00%2B01:00', 'from: Invalid ISO datetime'],
    ['token=abc', 'token: SHA-256 in lower-case hexadecimal'],
    ['id=', 'id: Too small: expected string to have >=1 characters'],
    [`id=${'x'.repeat(513)}`, 'id: Too big: expected string to have <=512 characters'],
    ['workload=a&workload=a', 'query: a name is given twice'],
    ['actor=me', 'query: unknown field "actor"'],
  ])('of the ledger ?%s is refused', async (query, reason) => {
    const { app, calls } = testApp({})
    const response = await send(app, 'GET', `/v1/ledger/entries?${query}`)
    expect(await refusal(response)).toEqual({ status: 400, code: 'request_invalid', reasons: [reason] })
    expect(calls).toEqual([])
  })

  test('a very long query is too_large', async () => {
    const response = await send(testApp({}).app, 'GET', `/v1/grants?after=${'a'.repeat(5000)}`)
    expect(response.status).toBe(413)
  })
})
