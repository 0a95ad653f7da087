import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type Code, codes } from '../../src/base/codes.ts'
import { newId } from '../../src/base/ids.ts'
import type { IssuedCredential } from '../../src/contract/credential.ts'
import type { GrantView } from '../../src/contract/grant.ts'
import type { Problem } from '../../src/contract/problem.ts'
import type { RevocationView } from '../../src/contract/revocation.ts'
import { eventually } from '../support/child.ts'

/** What a command sent. */
export interface Seen {
  readonly method: string
  readonly path: string
  readonly token: string | undefined
  readonly body: unknown
}

/** What the script answers; `undefined` hangs up without an answer. */
export interface Answer {
  readonly status: number
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
}

type Script = Readonly<Record<string, (request: Seen) => Answer | undefined>>

/** A real HTTP server that answers in the shapes of the contract, as scripted, and remembers what it was asked. */
export interface ScriptedBroker {
  readonly url: string
  readonly seen: readonly Seen[]
  /** The Idempotency-Key of each request, in order. */
  readonly keys: readonly (string | undefined)[]
  /** Requests to this method and path, such as `POST /v1/credentials`. */
  requests(route: string): readonly Seen[]
  waitFor(route: string, count?: number): Promise<readonly Seen[]>
  close(): Promise<void>
}

/** `script` is keyed by method and path without the query; a route ending in `*` takes any path below. */
export async function scriptedBroker(script: Script): Promise<ScriptedBroker> {
  const seen: Seen[] = []
  const keys: (string | undefined)[] = []
  const server = createServer((request, response) => void answer(request, response))
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const text = Buffer.concat(chunks).toString()
    const one: Seen = {
      method: request.method ?? '',
      path: request.url ?? '',
      token: request.headers.authorization?.replace(/^Bearer /, ''),
      body: text === '' ? undefined : JSON.parse(text),
    }
    seen.push(one)
    keys.push(request.headers['idempotency-key']?.toString())
    const route = `${one.method} ${one.path.split('?')[0]}`
    const match = Object.keys(script).find((key) =>
      key.endsWith('*') ? route.startsWith(key.slice(0, -1)) : key === route,
    )
    const answered = match === undefined ? refusal('not_found') : script[match]?.(one)
    if (answered === undefined) return void request.socket.destroy()
    const isProblem = answered.status >= 400
    const type = isProblem ? 'application/problem+json' : 'application/json'
    const body = typeof answered.body === 'string' ? answered.body : JSON.stringify(answered.body)
    response.writeHead(answered.status, { 'content-type': type, ...answered.headers }).end(body)
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const requests = (route: string): readonly Seen[] =>
    seen.filter(({ method, path }) => `${method} ${path.split('?')[0]}` === route)
  return {
    url: `http://127.0.0.1:${address.port}`,
    seen,
    keys,
    requests,
    waitFor: (route, count = 1) =>
      eventually(async () => (requests(route).length >= count ? requests(route) : undefined), `${count} × ${route}`),
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** A problem as the broker writes one. */
export function refusal(code: Code, over: Partial<Problem> = {}, headers: Record<string, string> = {}): Answer {
  const { status, title, detail, fix } = codes[code]
  const request_id = 'rq_test'
  const type = `https://writ.example.com/docs/errors#${code}`
  return { status, headers, body: { type, title, status, code, detail, fix, request_id, reasons: [], ...over } }
}

export const ok = (body: unknown, status = 200): Answer => ({ status, body })

export const grantId = newId('gr', Date.UTC(2026, 10, 22))
export const taskId = newId('tsk', Date.UTC(2026, 10, 22))
export const revocationId = newId('rev', Date.UTC(2026, 10, 22))
export const approvalId = newId('ap', Date.UTC(2026, 10, 22))
export const password = "pa'ss $word`"

/** An issued database credential that lives for `lifeMs` from now, by the clock of a broker that is `aheadMs` ahead. */
export function issued(lifeMs = 60_000, over: Partial<IssuedCredential> = {}, aheadMs = 0): Answer {
  const body: IssuedCredential = {
    grant: grantId,
    workload: 'checkout',
    purpose: 'read-orders',
    credential: 'orders-ro',
    environment: 'prod',
    issued_at: new Date(Date.now() + aheadMs).toISOString(),
    expires_at: new Date(Date.now() + aheadMs + lifeMs).toISOString(),
    ttl_capped_by: [],
    renewable: true,
    revocable: true,
    delivery: 'plain',
    secret: { username: 'v-checkout-1', password },
    ledger: { index: 1, receipt: '/v1/ledger/entries/1/receipt' },
    ...over,
  }
  return ok(body, 201)
}

export const grantIds = [grantId, newId('gr', Date.UTC(2026, 10, 23))] as const

/** The answer to a request for `orders-ro` and `internal-tls`. */
export function issuedSet(): Answer {
  const one = (grant: string, over: Partial<IssuedCredential>) => issued(60_000, { grant, ...over }).body
  const tls = { certificate: 'PEM', private_key: 'key' }
  return ok(
    {
      composite: newId('cmp', Date.UTC(2026, 10, 22)),
      credentials: [one(grantIds[0], {}), one(grantIds[1], { credential: 'internal-tls', secret: tls })],
    },
    201,
  )
}

export const ended = (outcome = 'revoked', grant: string = grantId): Answer =>
  ok({ grant, credential: 'orders-ro', outcome, latency_ms: 12 })

export function grantView(over: Partial<GrantView> = {}): GrantView {
  return {
    grant: grantId,
    status: 'active',
    outcome: null,
    workload: 'checkout',
    owner: 'payments',
    purpose: 'read-orders',
    environment: 'prod',
    credential: 'orders-ro',
    task: null,
    opened_at: '2026-11-22T10:00:00.000Z',
    issued_at: '2026-11-22T10:00:00.100Z',
    expires_at: '2026-11-22T10:15:00.000Z',
    ended_at: null,
    renewable: true,
    revocable: true,
    works_until: null,
    revocation: null,
    ids: [{ type: 'database_user', value: 'v-checkout-1' }],
    ledger: { intent: 1, issued: 2, ended: null },
    ...over,
  }
}

/** An order to revoke whose grants were all tried. */
export const orderView = (over: Partial<RevocationView> = {}): RevocationView => ({
  revocation: revocationId,
  status: 'open',
  match: { workload: 'checkout' },
  teams: null,
  reason: 'its image is compromised',
  ordered_at: '2026-11-22T10:00:00.000Z',
  completed_at: null,
  hold: { holding: true, seconds: 0, until: null, lifted_at: null },
  matched: 0,
  done: 0,
  tried: true,
  outcomes: {},
  grants: [],
  dry_run: false,
  ...over,
})
