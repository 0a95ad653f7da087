import { OpenAPIHono, type RouteConfig } from '@hono/zod-openapi'
import { z } from 'zod'
import { type Code, codes } from '../base/codes.ts'
import { problemSchema } from '../contract/problem.ts'
import { maxProofLength } from '../identity/proof.ts'
import { alwaysCodes, openCodes } from './answers.ts'
import type { Env } from './incoming.ts'
import { maxKeyLength } from './middleware/idempotency-key.ts'
import { type Answer, pathParam, type Route } from './route.ts'

/**
 * The OpenAPI 3.1 document of these routes, generated from the very schemas that check requests. Requests are checked
 * by `route.ts`: the validators of the framework parse JSON more loosely than the broker may.
 */
export function openApiDocument(routes: readonly Route[], version: string, publicUrl: string): object {
  const registry = new OpenAPIHono<Env>()
  registry.openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'The OIDC token of a workload or a person',
  })
  for (const route of routes) registry.openAPIRegistry.registerPath(routeConfig(route))
  return registry.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'writ',
      version,
      description: 'Short-lived credentials for declared purposes, each on an append-only record.',
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    servers: [{ url: publicUrl }],
  })
}

const idempotencyHeader = z.object({
  'Idempotency-Key': z
    .string()
    .min(1)
    .max(maxKeyLength)
    .optional()
    .describe('Visible ASCII. The same request with the same key again replaces what the lost answer was about'),
})

const proofHeader = z.object({
  DPoP: z
    .string()
    .max(maxProofLength)
    .optional()
    .describe('Proof of a key that the caller holds (RFC 9449), made for this request; one that is sent must be valid'),
})

function routeConfig(route: Route): RouteConfig {
  const bearer = route.access === 'bearer'
  const invalid: Code[] = route.body === undefined && route.query === undefined ? [] : ['request_invalid']
  const unread: Code[] = route.body === undefined ? [] : ['media_type']
  const always = route.access === 'open' ? openCodes : bearer ? alwaysCodes : (['internal'] as const)
  const all = [...always, ...invalid, ...unread, ...route.codes]
  const id = pathParam(route.path)
  return {
    method: route.method,
    path: route.path,
    operationId: operationId(route),
    tags: [route.tag],
    summary: route.summary,
    security: bearer ? [{ bearer: [] }] : [],
    request: {
      ...(id === undefined ? {} : { params: z.object({ [id]: id === 'index' ? z.int().nonnegative() : z.string() }) }),
      ...(route.query instanceof z.ZodObject ? { query: route.query } : {}),
      ...(bearer ? { headers: route.idempotent ? proofHeader.extend(idempotencyHeader.shape) : proofHeader } : {}),
      ...(route.takes === undefined
        ? {}
        : { body: { required: true, content: { [route.takes]: { schema: z.string() } } } }),
      ...(route.body === undefined
        ? {}
        : {
            body: {
              required: !route.body.safeParse({}).success,
              content: { 'application/json': { schema: route.body } },
            },
          }),
    },
    responses: {
      ...problems(all),
      ...Object.fromEntries(route.answers.map((answer) => [answer.status, success(answer)])),
    },
  }
}

// `POST /v1/grants/{id}/renew` is `postGrantsRenew`: stable as long as the path is.
function operationId(route: Route): string {
  const words = route.path.split('/').filter((part) => part !== '' && part !== 'v1' && !part.startsWith('{'))
  const one = route.path.endsWith('}') ? 'One' : ''
  const name = words.map((word) => word.replace(/\W/g, '')).map((word) => word[0]?.toUpperCase() + word.slice(1))
  return `${route.method}${name.join('')}${one}`
}

function success({ description, content }: Answer): RouteConfig['responses'][string] {
  if (content === undefined) return { description }
  const [type, schema] = typeof content === 'string' ? [content, z.string()] : ['application/json', content]
  return { description, content: { [type]: { schema } } }
}

function problems(list: readonly Code[]): RouteConfig['responses'] {
  const byStatus = Map.groupBy(new Set(list), (code) => codes[code].status)
  const content = { 'application/problem+json': { schema: problemSchema } }
  return Object.fromEntries(
    [...byStatus].map(([status, these]) => [
      status,
      { description: these.map((code) => `\`${code}\``).join(', '), content },
    ]),
  )
}
