import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Validator } from '@seriousme/openapi-schema-validator'
import { describe, expect, test } from 'vitest'
import { codes } from '../../src/base/codes.ts'
import { entryFilterSchema, eventFilterSchema } from '../../src/contract/ledger.ts'
import { signalPath } from '../../src/contract/signal.ts'
import type { AppDeps } from '../../src/http/app.ts'
import { escapeHtml, indexPage, style } from '../../src/http/docs-page.ts'
import { defaultLimits } from '../../src/http/limits.ts'
import { jsonReply } from '../../src/http/reply.ts'
import { probeRoute } from '../../src/http/route.ts'
import { noLog, testApp } from './harness.ts'

interface Operation {
  operationId: string
  security: unknown[]
  parameters?: { name: string; in: string; required?: boolean; schema: object }[]
  requestBody?: { required: boolean; content: Record<string, { schema: unknown }> }
  responses: Record<string, { content: Record<string, { schema: unknown }>; description: string }>
}
interface Document {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, { properties?: object; additionalProperties?: unknown; enum?: unknown[] }> }
}

const document = async (deps: Partial<AppDeps> = {}): Promise<Document> => {
  const response = await testApp({}, { version: '1.2.3', ...deps }).app.request('/openapi.json')
  return (await response.json()) as Document
}

/** The path of a route of hono's as it is documented: `/log/tile/:tile{.+}` is `/log/tile/{tile}`. */
const documentedPath = (path: string): string => path.replace('{.+}', '').replace(/:(\w+)/g, '{$1}')

describe('/openapi.json', () => {
  test('is a valid OpenAPI 3.1 document by the published schema', async () => {
    const validator = new Validator()
    const result = await validator.validate((await document()) as never)
    expect(result.errors ?? []).toEqual([])
    expect(result.valid).toBe(true)
    expect(validator.version).toBe('3.1')
  })

  test('describes exactly the routes that answer', async () => {
    const { app } = testApp({})
    const { paths } = await document()
    const described = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    const served = app.routes
      .filter((route) => route.method !== 'ALL')
      .map((route) => `${route.method} ${documentedPath(route.path)}`)
    expect(described.toSorted()).toEqual(served.toSorted())
  })

  test('refers to the wire shapes by name and gives every operation a name of its own', async () => {
    const { paths, components } = await document()
    const issue = paths['/v1/credentials']?.post
    expect(issue?.requestBody?.content['application/json']?.schema).toEqual({
      $ref: '#/components/schemas/CredentialRequest',
    })
    expect(issue?.requestBody?.required).toBe(true)
    expect(issue?.responses['201']?.content['application/json']?.schema).toEqual({
      anyOf: [{ $ref: '#/components/schemas/IssuedCredential' }, { $ref: '#/components/schemas/IssuedCredentials' }],
    })
    expect(components.schemas.CredentialRequest?.additionalProperties).toBe(false)
    const names = Object.values(paths).flatMap((methods) => Object.values(methods).map((one) => one.operationId))
    expect(new Set(names).size).toBe(names.length)
  })

  test('asks for the token exactly where callers need one, and names the problems of each status', async () => {
    const { paths } = await document()
    for (const [path, methods] of Object.entries(paths)) {
      for (const operation of Object.values(methods)) {
        // A signal is its sender's proof itself.
        const bearer = /^\/(v1|log)\//.test(path) && path !== signalPath
        expect(operation.security).toEqual(bearer ? [{ bearer: [] }] : [])
        if (bearer) expect(operation.responses['401']?.description).toContain('`token_expired`')
      }
    }
  })

  test('says which routes take an Idempotency-Key, and what one is', async () => {
    const { paths } = await document()
    const taking = Object.entries(paths).flatMap(([path, operations]) =>
      Object.values(operations).flatMap(({ parameters = [] }) =>
        parameters.filter((one) => one.in === 'header' && one.name !== 'DPoP').map((one) => ({ path, ...one })),
      ),
    )
    expect(taking).toMatchObject(
      ['/v1/credentials', '/v1/tasks'].map((path) => ({
        path,
        name: 'Idempotency-Key',
        schema: { type: 'string', minLength: 1, maxLength: 255 },
      })),
    )
    expect(taking.every(({ required }) => required !== true)).toBe(true)
  })

  test('says that every route for callers takes a proof, and no other route does', async () => {
    const { paths } = await document()
    for (const [path, operations] of Object.entries(paths)) {
      for (const { parameters = [], security } of Object.values(operations)) {
        const proof = parameters.find(({ name }) => name === 'DPoP')
        expect(proof !== undefined, path).toBe((security ?? []).length > 0)
        if (proof !== undefined) expect(proof).toMatchObject({ in: 'header', schema: { maxLength: 8192 } })
        expect(proof?.required, path).not.toBe(true)
      }
    }
  })

  test('shows a public log as what anybody may read', async () => {
    const { paths } = await document({ publishedLog: { log: noLog, public: true } })
    for (const path of ['/log/checkpoint', '/log/tile/{tile}']) {
      const operation = paths[path]?.get
      expect(operation?.security).toEqual([])
      expect(Object.keys(operation?.responses ?? {})).toEqual(['200', '304', '404', '500', '503'])
    }
  })
})

describe('/docs', () => {
  test('links every route and every code, and each code has its anchor at the type of its problems', async () => {
    const { app } = testApp({})
    for (const path of ['/docs', '/docs/errors']) {
      const response = await app.request(path)
      expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
      const text = await response.text()
      for (const code of Object.keys(codes)) expect(text).toContain(`<section id="${code}">`)
    }
    const text = await (await app.request('/docs')).text()
    for (const route of app.routes.filter((one) => one.method !== 'ALL')) {
      expect(text).toContain(`<code>${route.method} ${documentedPath(route.path)}</code>`)
    }
  })

  test('loads nothing, runs nothing, and its one style sheet is the one its policy names', async () => {
    const response = await testApp({}).app.request('/docs')
    const text = await response.text()
    expect(text).not.toMatch(/<script|<img|<iframe|<link|\son\w+=|\sstyle=|https?:\/\//i)
    const sheets = [...text.matchAll(/<style>([\s\S]*?)<\/style>/g)].map((match) => match[1])
    expect(sheets).toEqual([style])
    const digest = hash('sha256', sheets[0] ?? '', 'base64')
    expect(response.headers.get('content-security-policy')).toBe(
      `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    )
  })

  test('whatever a route is called, it stays text', () => {
    const evil = `"><script>alert('1')</script>&`
    const route = probeRoute({
      path: `/${evil}`,
      tag: evil,
      summary: `${evil} \`${evil}\``,
      answers: [{ status: 200, description: evil, content: 'text/plain' }],
      codes: [],
      read: async () => jsonReply(200, {}),
    })
    const text = indexPage([route])
    expect(text).not.toContain('<script')
    expect(text).toContain(escapeHtml(evil))
    expect(escapeHtml(evil)).toBe('&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;')
  })
})

describe('docs/reading.md', () => {
  const text = readFileSync(new URL('../../docs/reading.md', import.meta.url), 'utf8')

  test('lists every filter of a query and no other', () => {
    const rows = text.split('\n').filter((line) => line.startsWith('| `'))
    const listed = rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`(\w+)`/g)].map(([, name]) => name))
    const filters = Object.keys(entryFilterSchema.shape).filter((name) => name !== 'order' && name !== 'limit')
    expect(listed.toSorted()).toEqual(filters.toSorted())
  })

  test('says what of a query a stream does not take, and what it is bounded by', () => {
    const others = Object.keys(entryFilterSchema.shape).filter((name) => !(name in eventFilterSchema.shape))
    expect(others).toEqual(['to', 'before', 'order', 'limit'])
    expect(text).toContain('but `to`, `before`, `order` and `limit`')
    expect(text).toContain(`${defaultLimits.maxStreams} streams`)
    expect(text).toContain(`Every ${defaultLimits.streamBeatMs / 1000} seconds`)
    expect(text).toContain(`${defaultLimits.streamStallMs / 1000} seconds`)
  })
})
