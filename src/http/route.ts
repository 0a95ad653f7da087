import type { z } from 'zod'
import type { Clock } from '../base/clock.ts'
import type { Code } from '../base/codes.ts'
import { type ApprovalId, type GrantId, isId, type RequestId, type RevocationId, type TaskId } from '../base/ids.ts'
import { ok, type Result, refuse } from '../base/result.ts'
import type { Caller } from '../broker.ts'
import { parseTilePath, type TileId } from '../ledger/log/tile.ts'
import type { Limits } from './limits.ts'
import { bearerToken } from './middleware/bearer.ts'
import { type BodySource, readBody } from './middleware/body.ts'
import { readIdempotencyKey } from './middleware/idempotency-key.ts'
import { readQuery } from './middleware/query.ts'
import { jsonReply, type Reply } from './reply.ts'

/** What the routes read of one request. Every string is attacker-controlled. */
export interface Incoming extends BodySource {
  readonly url: string
  /** The path exactly as it was sent: nothing decoded, no `..` followed. */
  readonly target: string
  readonly ip: string
  readonly requestId: RequestId
  readonly limits: Limits
  readonly clock: Clock
  param(name: string): string | undefined
}

/** What one success looks like, for the document of the interface. */
export interface Answer {
  readonly status: number
  readonly description: string
  /** JSON by this schema, or a body of this media type; absent where there is none. */
  readonly content?: z.ZodType | string
}

/** One method of one path: how it is documented and how it is answered. */
export interface Route {
  readonly method: 'get' | 'post'
  /** In OpenAPI's form, such as `/v1/grants/{id}`. */
  readonly path: string
  readonly tag: string
  readonly summary: string
  /** `open` answers anyone within the limits of every request; `probe` also when the broker is full or draining. */
  readonly access: 'bearer' | 'open' | 'probe'
  readonly id?: IdKind
  readonly body?: z.ZodType
  /** Media type of a body that is not JSON. */
  readonly takes?: string
  readonly query?: z.ZodType
  readonly answers: readonly Answer[]
  readonly codes: readonly Code[]
  /** Waits for Vault to end secrets, or for something as long, so it has the longer deadline. */
  readonly bulk?: boolean
  /** Ends secrets, so it has places of its own: requests for new ones never crowd it out. */
  readonly urgent?: boolean
  /** Takes an `Idempotency-Key`. */
  readonly idempotent?: boolean
  /** Answers with a stream, which has a place among the streams and not among the requests in work. */
  readonly streams?: boolean
  answer(incoming: Incoming): Promise<Result<Reply>>
}

interface Ids {
  readonly grant: GrantId
  readonly task: TaskId
  readonly approval: ApprovalId
  readonly revocation: RevocationId
  /** Place of a ledger entry. */
  readonly index: number
  readonly tile: TileId
}
export type IdKind = keyof Ids

/** What a request holds, checked by the schemas of its route. */
export interface Asked<K extends IdKind, B, Q> {
  readonly id: Ids[K]
  readonly body: B
  readonly query: Q
  /** Absent where the route takes none. */
  readonly idempotencyKey: string | undefined
  header(name: string): string | undefined
}

interface Spec<A, K extends IdKind, B, Q, V> extends Omit<Route, 'access' | 'answer' | 'id' | 'body' | 'query'> {
  readonly id?: K
  readonly body?: z.ZodType<B>
  readonly query?: z.ZodType<Q>
  handle(asked: A): Promise<Result<V>>
  /** How the value is written; JSON with the first answer's status when absent. */
  write?(value: V): Reply
}

/**
 * A route for callers with a token. The order of checks is fixed: token present, identifier well formed, query, body;
 * a stranger without a token costs no parsing. The token is verified by the broker, not here.
 */
export function bearerRoute<V, K extends IdKind = 'grant', B = undefined, Q = undefined>(
  spec: Spec<Asked<K, B, Q> & { readonly caller: Caller }, K, B, Q, V>,
): Route {
  const { handle, write, ...documented } = spec
  return {
    ...documented,
    access: 'bearer',
    async answer(incoming) {
      const token = bearerToken(incoming.header('authorization'), incoming.limits.maxTokenBytes)
      if (!token.ok) return token
      const asked = await readAsked<K, B, Q>(spec, incoming)
      if (!asked.ok) return asked
      return toReply(spec, await handle({ ...asked.value, caller: callerOf(incoming, token.value) }))
    },
  }
}

// Several DPoP headers come as one, joined by a comma, which no proof holds: they are refused as no proof (RFC 9449 section 4.3).
function callerOf(incoming: Incoming, { token, withProof }: { token: string; withProof: boolean }): Caller {
  const { requestId, ip, target: path } = incoming
  const text = incoming.header('dpop') ?? (withProof ? '' : undefined)
  const caller = { token, requestId, ip }
  return text === undefined ? caller : { ...caller, proof: { text, method: incoming.raw.method, path } }
}

/** A route that anyone may read, within the limits of every request. A token is not looked at. */
export function openRoute<V, K extends IdKind = 'grant', B = undefined, Q = undefined>(
  spec: Spec<Asked<K, B, Q>, K, B, Q, V>,
): Route {
  const { handle, write, ...documented } = spec
  return {
    ...documented,
    access: 'open',
    async answer(incoming) {
      const asked = await readAsked<K, B, Q>(spec, incoming)
      return asked.ok ? toReply(spec, await handle(asked.value)) : asked
    },
  }
}

async function readAsked<K extends IdKind, B, Q>(
  spec: Pick<Route, 'id' | 'path' | 'query' | 'body' | 'idempotent'>,
  incoming: Incoming,
): Promise<Result<Asked<K, B, Q>>> {
  const id = spec.id === undefined ? readNothing(spec.path, incoming) : readId(spec.id, spec.path, incoming)
  if (!id.ok) return id
  const query = spec.query === undefined ? ok(undefined) : readQuery(incoming.url, spec.query)
  if (!query.ok) return query
  const key = spec.idempotent ? readIdempotencyKey(incoming.header('idempotency-key')) : ok(undefined)
  if (!key.ok) return key
  const body =
    spec.body === undefined ? ok(undefined) : await readBody(incoming, spec.body, incoming.limits, incoming.clock)
  if (!body.ok) return body
  const { header } = incoming
  // The type parameters default to `undefined` exactly where the schema or the id is absent.
  const asked = { id: id.value, body: body.value, query: query.value, idempotencyKey: key.value, header }
  return ok(asked as Asked<K, B, Q>)
}

function toReply<V>(
  spec: Pick<Spec<never, IdKind, never, never, V>, 'write' | 'answers'>,
  result: Result<V>,
): Result<Reply> {
  if (!result.ok) return result
  return ok(
    spec.write === undefined ? jsonReply(spec.answers[0]?.status ?? 200, result.value) : spec.write(result.value),
  )
}

/** A route that anyone may read and that says nothing about callers or secrets. */
export function probeRoute(spec: Omit<Route, 'access' | 'answer' | 'method'> & { read(): Promise<Reply> }): Route {
  const { read, ...documented } = spec
  return { ...documented, method: 'get', access: 'probe', answer: async () => ok(await read()) }
}

/** The name between braces in a path, if there is one. */
export const pathParam = (path: string): string | undefined => /\{(\w+)\}/.exec(path)?.[1]

const decimal = /^(?:0|[1-9]\d{0,14})$/
const prefixes = { grant: 'gr', task: 'tsk', approval: 'ap', revocation: 'rev' } as const

// A detour to the path (`/log/x/../checkpoint`) is not the path.
const readNothing = (path: string, { target }: Incoming): Result<undefined> =>
  target === path ? ok(undefined) : refuse('not_found', 'path', 'not written as it is documented')

// What is not an identifier names nothing: the answer is the same as for one that does not exist.
function readId(kind: IdKind, path: string, incoming: Incoming): Result<Ids[IdKind]> {
  if (kind === 'tile') {
    const tile = parseTilePath(incoming.target.replace(/^\/log\//, ''))
    return tile === undefined ? refuse('not_found', 'tile', 'not the path of a tile') : ok(tile)
  }
  const text = incoming.param(pathParam(path) ?? '') ?? ''
  if (kind === 'index') return decimal.test(text) ? ok(Number(text)) : refuse('not_found', 'index', 'not an index')
  const prefix = prefixes[kind]
  return isId(prefix, text) ? ok(text) : refuse('not_found', kind, 'not an identifier')
}
