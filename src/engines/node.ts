import nodeVault from 'node-vault'
import type { Clock } from '../base/clock.ts'
import type { Secret } from '../base/secret.ts'
import { faultOf, type Verb } from './answers.ts'
import { envelopeSchema, healthSchema, type VaultResponse } from './envelope.ts'
import { type Transport, TransportFailure } from './transport.ts'

/** One call to one server, in full. */
export interface NodeCall {
  readonly verb: Verb
  readonly path: string
  readonly data: object
  readonly token: Secret<string> | undefined
  readonly wrapTtlSeconds?: number | undefined
  /** Name of the Vault policy that the token carries, for the message when it lacks a line. */
  readonly tokenPolicy?: string | undefined
  readonly deadlineMs?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** Longest answer that is read, where it is not the usual one. */
  readonly maxBytes?: number | undefined
  /** It ends a secret: it has places of its own, and does not wait behind others. */
  readonly urgent?: boolean | undefined
}

export interface VaultHealth {
  readonly reachable: boolean
  readonly sealed: boolean
  readonly standby: boolean
  readonly kind: 'openbao' | 'vault' | 'embedded' | 'unknown'
  readonly version: string
  /** Vault's clock minus the broker's, milliseconds, to the second; `undefined` when Vault did not say. */
  readonly clockSkewMs: number | undefined
}

/** One Vault server, spoken to through node-vault. */
export interface VaultNode {
  /** Once, without retries. @throws VaultFault */
  call(call: NodeCall): Promise<VaultResponse>
  /** Never throws. */
  health(): Promise<VaultHealth>
  close(): Promise<void>
}

export function createVaultNode(options: {
  readonly address: string
  readonly namespace: string | undefined
  readonly transport: Transport
  readonly clock: Clock
  readonly deadlineMs: number
}): VaultNode {
  const { transport, clock, deadlineMs } = options
  const base = new URL(options.address)
  const client = quietClient(base.origin + base.pathname.replace(/\/+$/, ''), transport, options.namespace)
  return {
    async call(call) {
      const headers: Record<string, string> = { 'X-Vault-Request': 'true' }
      if (call.token !== undefined) headers['X-Vault-Token'] = call.token.reveal()
      if (call.wrapTtlSeconds !== undefined) headers['X-Vault-Wrap-TTL'] = `${call.wrapTtlSeconds}s`
      const request = {
        headers,
        deadlineMs: call.deadlineMs ?? deadlineMs,
        signal: call.signal,
        maxBytes: call.maxBytes,
        urgent: call.urgent,
      }
      try {
        const body: unknown = await send(client, call.verb, call.path, call.data, request)
        const parsed = envelopeSchema.safeParse(body ?? {})
        if (!parsed.success) throw new TransportFailure('unreadable')
        return parsed.data
      } catch (thrown) {
        throw faultOf(thrown, call.verb, call.path, call.tokenPolicy)
      }
    },
    health: () => readHealth(client, clock, deadlineMs),
    close: () => transport.close(),
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
