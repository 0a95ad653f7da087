import { randomUUID } from 'node:crypto'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { type Clock, systemClock } from '../../base/clock.ts'
import { type Log, silentLog } from '../../base/log.ts'
import { createAppRole } from './approle.ts'
import { listed, type Operation, type Reply, type Route, VaultError } from './backend.ts'
import { createDatabase } from './database.ts'
import { seconds } from './fields.ts'
import { createJwtAuth } from './jwt.ts'
import { createKv, createKvV1 } from './kv.ts'
import { createLeases } from './leases.ts'
import { listAware, listStandIn } from './list-method.ts'
import { createMounts, type Mounted } from './mounts.ts'
import { createPki } from './pki.ts'
import { type Capability, createPolicies } from './policies.ts'
import { randomText } from './random.ts'
import { routeFor } from './route.ts'
import { createSsh } from './ssh.ts'
import { createSystem } from './system.ts'
import { createTokenBackend } from './token-routes.ts'
import { createTokens } from './tokens.ts'
import { createTransit } from './transit.ts'
import { createWrapping } from './wrapping.ts'

/** A running development server. */
export interface DevVault {
  /** Such as `http://127.0.0.1:8200`. */
  readonly address: string
  readonly rootToken: string
  stop(): Promise<void>
}

const operations: Readonly<Record<string, Operation>> = {
  GET: 'read',
  HEAD: 'read',
  LIST: 'list',
  [listStandIn]: 'list',
  POST: 'update',
  PUT: 'update',
  DELETE: 'delete',
  PATCH: 'patch',
}
const maxBodyBytes = 1024 * 1024

async function bodyOf(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    // Read to its end all the same: a client that is still sending does not hear an answer.
    if (size <= maxBodyBytes) chunks.push(chunk)
  }
  if (size > maxBodyBytes) throw new VaultError(413, 'http: request body too large')
  if (size === 0) return {}
  try {
    const parsed: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
    if (parsed !== null && typeof parsed === 'object' && !Array.isArray(parsed)) return { ...parsed }
  } catch {}
  throw new VaultError(400, 'error parsing JSON')
}

/** The envelope of every answer that has data. */
function enveloped(reply: Reply): Record<string, unknown> {
  return {
    ...(reply.flat === true ? reply.data : {}),
    request_id: randomUUID(),
    lease_id: reply.lease?.id ?? '',
    renewable: reply.lease?.renewable ?? false,
    lease_duration: reply.lease?.durationSeconds ?? 0,
    data: reply.data ?? null,
    wrap_info: null,
    warnings: reply.warnings !== undefined && reply.warnings.length > 0 ? reply.warnings : null,
    auth: reply.auth ?? null,
  }
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string | Uint8Array
}
const json = (status: number, value: unknown): Answer => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(value)}\n`,
})

/** What the core needs to know of one HTTP request. */
interface Incoming {
  readonly operation: Operation
  readonly path: string
  readonly query: URLSearchParams
  readonly body: Readonly<Record<string, unknown>>
  readonly token: string
  readonly wrapSeconds: number | undefined
}

function readHead(request: IncomingMessage): Omit<Incoming, 'body'> {
  const url = new URL(request.url ?? '/', 'http://localhost')
  if (!url.pathname.startsWith('/v1/')) throw new VaultError(404)
  const base = operations[request.method ?? '']
  if (base === undefined) throw new VaultError(405)
  const operation = base === 'read' && url.searchParams.get('list') === 'true' ? 'list' : base
  let path: string
  try {
    path = decodeURIComponent(url.pathname.slice('/v1/'.length))
  } catch {
    throw new VaultError(400, 'invalid URL escape')
  }
  if (operation === 'list' && !path.endsWith('/')) path += '/'
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1]
  const header = request.headers['x-vault-token']
  const wrap = request.headers['x-vault-wrap-ttl']
  return {
    operation,
    path,
    query: url.searchParams,
    token: typeof header === 'string' && header !== '' ? header : (bearer ?? ''),
    wrapSeconds: typeof wrap === 'string' && wrap !== '' ? seconds(wrap) : undefined,
  }
}

/** Everything behind the HTTP listener. */
function createCore(deps: { clock: Clock; log: Log; rootToken: string }): {
  answer(incoming: Incoming): Promise<Answer>
  stop(): Promise<void>
} {
  const { clock, log } = deps
  const now = (): number => clock.now()
  const leases = createLeases({ clock, log })
  const tokens = createTokens({ clock, leases })
  const policies = createPolicies({ now })
  const wrapping = createWrapping({ tokens, clock })
  const mounts = createMounts({
    engine: (type, mountPath) => {
      if (type === 'database') return createDatabase({ clock, leases, mountPath })
      if (type === 'pki') return createPki({ clock, leases, mountPath })
      if (type === 'ssh') return createSsh({ clock })
      if (type === 'transit') return createTransit({ clock })
      if (type === 'kv-v1') return createKvV1()
      return type === 'kv' ? createKv({ clock }) : undefined
    },
    method: (type, mountPath) => {
      if (type === 'approle') return createAppRole({ tokens, now, mountPath })
      return type === 'jwt' ? createJwtAuth({ tokens, now, mountPath }) : undefined
    },
    beforeRemoval: (path) => leases.revokePrefix(path),
  })
  mounts.add('sys/', 'system', createSystem({ clock, leases, policies, tokens, mounts, wrapping }))
  mounts.add('auth/token/', 'token', createTokenBackend({ tokens, now }))
  mounts.add('secret/', 'kv', createKv({ clock }), {
    options: { version: '2' },
    description: 'key/value secret storage',
  })
  tokens.create({
    id: deps.rootToken,
    policies: ['root'],
    displayName: 'token',
    path: 'auth/token/create',
    ttlSeconds: 0,
    renewable: false,
  })

  const locate = (
    incoming: Incoming,
  ): { mounted: Mounted; rest: string; route: Route | undefined; names: Record<string, string> } => {
    const found = mounts.find(incoming.path) ?? mounts.find(`${incoming.path}/`)
    if (found === undefined)
      throw new VaultError(404, `no handler for route "${incoming.path}". route entry not found.`)
    const matched = routeFor(found.mounted.backend.routes, found.rest, incoming.operation === 'list')
    return { ...found, route: matched?.route, names: { ...matched?.names } }
  }

  const run = async (incoming: Incoming): Promise<Reply | undefined> => {
    // An unknown token learns nothing, not even which mounts there are.
    const known = tokens.find(incoming.token)
    const found = mounts.find(incoming.path)
    const isOpen =
      found !== undefined &&
      routeFor(found.mounted.backend.routes, found.rest, incoming.operation === 'list')?.route.open === true
    if (known === undefined && !isOpen) throw new VaultError(403, 'permission denied')
    const { mounted, rest, route, names } = locate(incoming)
    const base = { operation: incoming.operation, path: rest, names, body: incoming.body, query: incoming.query }
    if (isOpen) return await handled(route, { ...base, token: known, mount: mounted.mount })

    const { token, used } = tokens.use(incoming.token)
    try {
      const call = { ...base, token, mount: mounted.mount }
      const sudo = route?.sudo === true || (Array.isArray(route?.sudo) && route.sudo.includes(incoming.operation))
      const capability: Capability =
        incoming.operation === 'update' && route?.exists !== undefined && !route.exists(call)
          ? 'create'
          : incoming.operation
      const { path, body, wrapSeconds } = incoming
      if (!policies.allows(token.policies, { path, capability, sudo, body, wrapSeconds })) {
        throw listed(403, 'permission denied')
      }
      return await handled(route, call)
    } finally {
      await used()
    }
  }

  return {
    async answer(incoming) {
      const reply = await run(incoming)
      if (reply === undefined) return { status: 204, type: 'application/json', body: '' }
      if (reply.raw !== undefined) return { status: reply.status ?? 200, ...reply.raw }
      if (reply.whole !== undefined) return json(200, reply.whole)
      const full = enveloped(reply)
      if (incoming.wrapSeconds === undefined || incoming.wrapSeconds <= 0) return json(reply.status ?? 200, full)
      const wrapInfo = wrapping.wrap(full, incoming.path, incoming.wrapSeconds)
      return json(200, { ...enveloped({}), request_id: '', wrap_info: wrapInfo })
    },
    async stop() {
      leases.halt()
      tokens.halt()
      await mounts.stop()
    },
  }
}

/** OpenBao may serve it; said beside its own words for a path that it does not know. */
const notServed = 'this development server does not serve it: docs/development-server.md lists what it does'

type Handled = Parameters<NonNullable<Route['on']['read']>>[0]
async function handled(route: Route | undefined, call: Handled): Promise<Reply | undefined> {
  if (route === undefined) throw new VaultError(404, listed(404, 'unsupported path').message, notServed)
  const handler = route.on[call.operation]
  if (handler === undefined) throw listed(405, 'unsupported operation')
  return await handler(call)
}

function send(response: ServerResponse, answer: Answer, headOnly: boolean): void {
  response.writeHead(answer.status, {
    'cache-control': 'no-store',
    'content-type': answer.type,
    'content-length': Buffer.byteLength(answer.body),
  })
  response.end(headOnly ? undefined : answer.body)
}

/**
 * Starts a server that speaks Vault's HTTP API on loopback, with real effects: it makes and drops roles in the databases
 * it is given, and signs real certificates. It keeps everything in memory and is for development alone.
 * Where it differs from OpenBao 2.5.5, that is a bug here. Namespaces are ignored.
 */
export async function startDevVault(
  options: { port?: number; clock?: Clock; log?: Log; rootToken?: string } = {},
): Promise<DevVault> {
  const { port = 0, clock = systemClock, log = silentLog, rootToken = `s.${randomText(24)}` } = options
  const core = createCore({ clock, log, rootToken })

  const answer = async (request: IncomingMessage): Promise<Answer> => {
    try {
      const head = readHead(request)
      return await core.answer({ ...head, body: await bodyOf(request) })
    } catch (error) {
      if (error instanceof VaultError) return json(error.status, { errors: error.errors })
      // The message of a foreign error may quote SQL with a password in it, so only its name is told.
      log.error({ error: error instanceof Error ? error.name : typeof error }, 'request failed')
      return json(500, { errors: ['1 error occurred:\n\t* internal error\n\n'] })
    }
  }
  const starts = new WeakMap<object, () => void>()
  const http = createHttpServer((request, response) => {
    // Cleared before the answer goes out, so before the client may send the next request.
    request.once('end', () => starts.get(request.socket)?.())
    void answer(request).then((result) => send(response, result, request.method === 'HEAD'))
  })
  http.keepAliveTimeout = 60_000
  const sockets = new Set<Socket>()
  const listener = createServer((socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    const { stream, requestEnded } = listAware(socket)
    starts.set(stream, requestEnded)
    http.emit('connection', stream)
  })
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject)
    listener.listen(port, '127.0.0.1', resolve)
  })
  return {
    address: `http://127.0.0.1:${(listener.address() as AddressInfo).port}`,
    rootToken,
    async stop() {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
      // Handed over one by one, they are not in the list of connections that the HTTP server could close.
      for (const socket of sockets) socket.destroy()
      await closed
      await core.stop()
    },
  }
}
