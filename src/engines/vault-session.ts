import nodeVault from 'node-vault'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Secret } from '../base/secret.ts'
import { envelopeSchema, healthSchema, type VaultResponse } from './envelope.ts'
import { AmbiguousMint, classify, type FaultKind, faultRules, policyLine, VaultFault } from './faults.ts'
import { createTokenKeeper, type VaultAuthMethod } from './login.ts'
import { createOutage } from './outage.ts'
import { createTransport, type RefusedBody, type Transport, TransportFailure } from './transport.ts'

export interface CallOptions {
  /** Asks Vault to answer with a wrapping token that lives this long (`X-Vault-Wrap-TTL`). */
  readonly wrapTtlSeconds?: number
  /** Another token than the broker's own, such as one made for a single grant. */
  readonly token?: Secret<string>
  /** Name of the Vault policy that such a token carries, for the message when it lacks a line. */
  readonly tokenPolicy?: string
  readonly deadlineMs?: number
  readonly signal?: AbortSignal
  /** Longest answer that is read, where it is not the usual one. */
  readonly maxBytes?: number
  /** The call makes a secret: it is sent once at most, and an unknown outcome is thrown as `AmbiguousMint`. */
  readonly mints?: boolean
}

interface VaultHealth {
  readonly reachable: boolean
  readonly sealed: boolean
  readonly standby: boolean
  readonly kind: 'openbao' | 'vault' | 'embedded' | 'unknown'
  readonly version: string
  /** Vault's clock minus the broker's, milliseconds, to the second; `undefined` when Vault did not say. */
  readonly clockSkewMs: number | undefined
}

/**
 * The broker's session with Vault. Paths hold text from policies only: what a caller sent travels in bodies.
 * @throws VaultFault `vault_unavailable` or `engine_refused`; `AmbiguousMint` for a mint with an unknown outcome.
 */
export interface VaultSession {
  /** Logs in; resolves after the first attempt. A Vault that is down leaves the session unready, and it keeps trying. */
  start(): Promise<void>
  read(path: string, options?: CallOptions): Promise<VaultResponse>
  write(path: string, data: object, options?: CallOptions): Promise<VaultResponse>
  /** Keys below a path; none when Vault knows nothing there. */
  list(path: string, options?: CallOptions): Promise<readonly string[]>
  delete(path: string, options?: CallOptions): Promise<void>
  /** Never throws. */
  health(): Promise<VaultHealth>
  /** Whether the broker is logged in, and Vault not known to be sealed or away. */
  ready(): { readonly ok: boolean; readonly detail: string }
  /** Counts logins; see `TokenKeeper.generation`. */
  generation(): number
  /** Stops renewal and closes the sockets. The token is not revoked: live leases hang on it. */
  close(): Promise<void>
}

export interface VaultSessionOptions {
  readonly address: string
  readonly namespace?: string
  readonly caCertPem?: string
  readonly auth: VaultAuthMethod
  readonly clock: Clock
  readonly log: Log
  /** Greatest time one call may take, queueing included. */
  readonly deadlineMs?: number
  readonly transport?: Transport
}

type Verb = 'read' | 'write' | 'list' | 'delete'

/** Opens a session; nothing is sent before `start()` or the first call. */
export function createVaultSession(options: VaultSessionOptions): VaultSession {
  const { clock, log, deadlineMs = 10_000 } = options
  const base = new URL(options.address)
  const transport = options.transport ?? createTransport({ ...options, deadlineMs })
  const client = quietClient(base.origin + base.pathname.replace(/\/+$/, ''), transport, options.namespace)

  async function once(verb: Verb, path: string, data: object, token: Secret<string> | undefined, call: CallOptions) {
    const headers: Record<string, string> = { 'X-Vault-Request': 'true' }
    if (token !== undefined) headers['X-Vault-Token'] = token.reveal()
    if (call.wrapTtlSeconds !== undefined) headers['X-Vault-Wrap-TTL'] = `${call.wrapTtlSeconds}s`
    const { signal, maxBytes } = call
    const request = { headers, deadlineMs: call.deadlineMs ?? deadlineMs, signal, maxBytes }
    try {
      const body: unknown = await send(client, verb, path, data, request)
      const parsed = envelopeSchema.safeParse(body ?? {})
      if (!parsed.success) throw new TransportFailure('unreadable')
      return parsed.data
    } catch (thrown) {
      throw faultOf(thrown, verb, path, call.tokenPolicy)
    }
  }

  const keeper = createTokenKeeper({
    auth: options.auth,
    clock,
    log,
    write: (path, data, token) => once('write', path, data, token, {}),
    read: (path, token) => once('read', path, {}, token, {}),
  })

  const health = () => readHealth(client, clock, deadlineMs)
  const outage = createOutage({ ask: async () => troubleOf(await health()), clock, log })

  async function call(verb: Verb, path: string, data: object, callOptions: CallOptions = {}): Promise<VaultResponse> {
    for (let tries = 1; ; tries += 1) {
      const token = callOptions.token ?? (await keeper.current())
      try {
        return await once(verb, path, data, token, callOptions)
      } catch (thrown) {
        if (!(thrown instanceof VaultFault)) throw thrown
        const own = callOptions.token === undefined
        if (thrown.kind === 'denied' && own && tries === 1 && (await keeper.isDead(token))) {
          if (options.auth.method === 'approle') continue
          throw new VaultFault('not_logged_in', 'Vault no longer accepts the token of the broker')
        }
        const { again, unknownOutcome } = faultRules[thrown.kind]
        if (tries === 1 && (again === 'any' || (again === 'safe' && callOptions.mints !== true))) continue
        if (mayBeAway(thrown.kind)) outage.suspect()
        throw callOptions.mints === true && unknownOutcome ? new AmbiguousMint(thrown) : thrown
      }
    }
  }

  return {
    start: keeper.start,
    read: (path, callOptions) => call('read', path, {}, callOptions),
    write: call.bind(undefined, 'write'),
    async list(path, callOptions) {
      try {
        const { data } = await call('list', path, {}, callOptions)
        return Array.isArray(data?.keys) ? data.keys.filter((key) => typeof key === 'string') : []
      } catch (thrown) {
        if (thrown instanceof VaultFault && thrown.status === 404 && thrown.errorClass === '') return []
        throw thrown
      }
    },
    async delete(path, callOptions) {
      await call('delete', path, {}, callOptions)
    },
    health,
    ready() {
      const problem = outage.problem()
      return problem === '' ? keeper.state() : { ok: false, detail: problem }
    },
    generation: keeper.generation,
    async close() {
      keeper.close()
      outage.close()
      await transport.close()
    },
  }
}

/**
 * node-vault with everything it would pick up by itself shut off: `debug` prints payloads, and the address, token,
 * namespace and prefix come from the environment where they are empty. Tokens travel per call and are never kept on it.
 */
function quietClient(endpoint: string, transport: Transport, namespace: string | undefined): nodeVault.client {
  const client = nodeVault({
    endpoint,
    debug: () => {},
    // It validates its own two arguments with this on every call.
    tv4: Object.assign(() => true, { validate: () => true }),
    commands: {},
    'request-promise': { defaults: () => transport.send },
  })
  return Object.assign(client, { token: '', namespace: namespace ?? '', pathPrefix: '' })
}

function send(client: nodeVault.client, verb: Verb, path: string, data: object, request: object): Promise<unknown> {
  if (verb === 'write') return client.write(path, data, request)
  // Vault's other spelling of the method LIST, which proxies and HTTP parsers do not all let through.
  if (verb === 'list') return client.read(`${path}?list=true`, request)
  return client[verb](path, request)
}

interface Refused {
  readonly response: { readonly statusCode: number; readonly body: RefusedBody }
}

function isRefused(thrown: unknown): thrown is Refused {
  return thrown instanceof Error && 'response' in thrown
}

const methods: Readonly<Record<Verb, string>> = { read: 'GET', write: 'POST', list: 'LIST', delete: 'DELETE' }
const capabilities: Readonly<Record<Verb, string>> = { read: 'read', write: 'update', list: 'list', delete: 'delete' }

/** Turns whatever was thrown into a fault that is safe to log. The original is dropped: it carries bodies and headers. */
function faultOf(thrown: unknown, verb: Verb, path: string, policy = 'of the broker'): VaultFault {
  const what = `${methods[verb]} ${path}`
  if (thrown instanceof TransportFailure) {
    const cause = thrown.reason === '' ? '' : ` (${thrown.reason})`
    return new VaultFault(thrown.kind, `${what}: ${faultRules[thrown.kind].text}${cause}`)
  }
  if (!isRefused(thrown)) return new VaultFault('unreadable', `${what}: ${faultRules.unreadable.text}`)
  const { statusCode: status, body } = thrown.response
  const { name: errorClass, hint } = classify(body.errors)
  const kind = kindOf(status, errorClass, body.fromVault)
  const said = `${status}${errorClass === '' ? '' : `, ${errorClass}`}`
  const details = {
    status,
    errorClass,
    ...(body.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: body.retryAfterSeconds }),
  }
  if (kind === 'denied') {
    const needed = path.startsWith('sys/leases/lookup/') ? [capabilities[verb], 'sudo'] : [capabilities[verb]]
    return new VaultFault(
      kind,
      `${what}: Vault answered ${said}. The Vault policy ${policy} lacks: ${policyLine(path, needed)}`,
      details,
    )
  }
  const todo = hint === '' ? '' : `: ${hint}`
  return new VaultFault(kind, `${what}: ${faultRules[kind].text} (${said})${todo}`, details)
}

function kindOf(status: number, errorClass: string, fromVault: boolean): FaultKind {
  if (errorClass === 'sealed' && status >= 500) return 'sealed'
  if (status === 429) return 'rate_limited'
  // 307: a standby that cannot forward names the active node; its address is not followed, the token stays here.
  if (status === 307 || status === 412 || status === 472 || status === 473 || errorClass === 'standby') return 'standby'
  if (status >= 500) return fromVault ? 'server' : 'gateway'
  if (status === 403) return 'denied'
  return fromVault || status === 404 ? 'rejected' : 'gateway'
}

/** Faults that come of Vault as a whole as well as of one call; the rest are about the call, or about the broker. */
const mayBeAway = (kind: FaultKind): boolean =>
  !['busy', 'aborted', 'oversized', 'rate_limited', 'not_logged_in', 'denied', 'rejected'].includes(kind)

function troubleOf({ reachable, sealed, version }: VaultHealth): string {
  if (!reachable) return 'Vault cannot be reached'
  if (sealed) return 'Vault is sealed'
  return version === '' ? 'something in front of Vault answers in its place' : ''
}

async function readHealth(client: nodeVault.client, clock: Clock, deadlineMs: number): Promise<VaultHealth> {
  const unknown = { sealed: false, standby: false, kind: 'unknown', version: '', clockSkewMs: undefined } as const
  try {
    const body: unknown = await client.read('sys/health', { headers: {}, deadlineMs: Math.min(deadlineMs, 2_000) })
    const parsed = healthSchema.safeParse(body)
    if (!parsed.success) return { reachable: true, ...unknown }
    const { sealed, standby, version, server_time_utc: seconds } = parsed.data
    const kind = version.includes('writ') ? 'embedded' : parsed.data.enterprise === undefined ? 'openbao' : 'vault'
    const clockSkewMs = seconds === undefined ? undefined : seconds * 1000 - Math.floor(clock.now() / 1000) * 1000
    return { reachable: true, sealed, standby, kind, version, clockSkewMs }
  } catch (thrown) {
    return { reachable: !(thrown instanceof TransportFailure), ...unknown }
  }
}
