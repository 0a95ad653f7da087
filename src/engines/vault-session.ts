import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Secret } from '../base/secret.ts'
import type { Verb } from './answers.ts'
import type { VaultResponse } from './envelope.ts'
import { AmbiguousMint, type FaultKind, faultRules, VaultFault } from './faults.ts'
import type { GenerationStore } from './generation.ts'
import type { Hanging } from './letting-go.ts'
import type { VaultAuthMethod } from './login.ts'
import { createVaultNode, type VaultHealth } from './node.ts'
import { asOne } from './nodes.ts'
import { createOutage } from './outage.ts'
import { createTokenKeeper, type GenerationView } from './token-keeper.ts'
import { createTransport, type Transport } from './transport.ts'

export interface CallOptions {
  /** Asks Vault to answer with a wrapping token that lives this long (`X-Vault-Wrap-TTL`). */
  readonly wrapTtlSeconds?: number
  /** Another token than the broker's own, such as one made for a single grant. */
  readonly token?: Secret<string>
  /** Name of the Vault policy that such a token carries, for the message when it lacks a line. */
  readonly tokenPolicy?: string
  readonly deadlineMs?: number
  readonly signal?: AbortSignal
  /** The call ends a secret: it does not wait behind those that make some. */
  readonly urgent?: boolean
  /** Longest answer that is read, where it is not the usual one. */
  readonly maxBytes?: number
  /** The call makes a secret: it is sent once at most, and an unknown outcome is thrown as `AmbiguousMint`. */
  readonly mints?: boolean
}

/** What Vault answered, and the generation of the token it answered to, where that was the broker's own. */
export type Answered = VaultResponse & { readonly generation: number | undefined }

/**
 * The broker's session with Vault. Paths hold text from policies only: what a caller sent travels in bodies.
 * @throws VaultFault `vault_unavailable` or `engine_refused`; `AmbiguousMint` for a mint with an unknown outcome.
 */
export interface VaultSession {
  /** Logs in; resolves after the first attempt. A Vault that is down leaves the session unready, and it keeps trying. */
  start(): Promise<void>
  read(path: string, options?: CallOptions): Promise<Answered>
  write(path: string, data: object, options?: CallOptions): Promise<Answered>
  /** Keys below a path; none when Vault knows nothing there. */
  list(path: string, options?: CallOptions): Promise<readonly string[]>
  delete(path: string, options?: CallOptions): Promise<void>
  /** Never throws. */
  health(): Promise<VaultHealth>
  /** Whether the broker is logged in, and Vault not known to be sealed or away. */
  ready(): { readonly ok: boolean; readonly detail: string }
  /** Tokens of the broker that are kept alive, oldest first: leases die with the token they were made under. */
  generations(): readonly GenerationView[]
  /** Until when a lease of that generation (of the present one without a number) can be kept; ms since the epoch. */
  leasesEndMs(generation?: number): number
  /** Logs in anew, so that what was changed on the login's role counts; earlier tokens stay for their leases. */
  renewLogin(): Promise<void>
  /** Stops renewal and closes the sockets. No token is revoked: live leases hang on them. */
  close(): Promise<void>
}

export interface VaultSessionOptions {
  /** One, or the servers of one cluster in the order in which they are tried. */
  readonly address: string | readonly string[]
  readonly namespace?: string
  readonly caCertPem?: string
  readonly auth: VaultAuthMethod
  readonly clock: Clock
  readonly log: Log
  /** Greatest time one call may take, queueing included. */
  readonly deadlineMs?: number
  /** In place of one for each address. */
  readonly transport?: Transport
  /** Keeps tokens over a restart; without it a new session begins with a login. */
  readonly store?: GenerationStore
  readonly hanging?: Hanging
  /** A token ended while grants hung on it: Vault has ended their leases. */
  readonly onLost?: (generation: number) => void
}

/** Opens a session; nothing is sent before `start()` or the first call. */
export function createVaultSession(options: VaultSessionOptions): VaultSession {
  const { clock, log, namespace, deadlineMs = 10_000 } = options
  const node = asOne(
    [options.address].flat().map((address) => {
      const transport = options.transport ?? createTransport({ ...options, address, deadlineMs })
      return createVaultNode({ address, namespace, transport, clock, deadlineMs })
    }),
  )
  const keeper = createTokenKeeper({
    ...options,
    write: (path, data, token) => node.call({ verb: 'write', path, data, token }),
    read: (path, token) => node.call({ verb: 'read', path, data: {}, token }),
  })
  const { health } = node
  const outage = createOutage({ ask: async () => troubleOf(await health()), clock, log })

  async function call(verb: Verb, path: string, data: object, callOptions: CallOptions = {}): Promise<Answered> {
    for (let tries = 1; ; tries += 1) {
      const own = callOptions.token === undefined ? await keeper.current() : undefined
      const token = callOptions.token ?? own?.token
      try {
        return { ...(await node.call({ ...callOptions, verb, path, data, token })), generation: own?.generation }
      } catch (thrown) {
        if (!(thrown instanceof VaultFault)) throw thrown
        if (thrown.kind === 'denied' && own !== undefined && tries === 1 && (await keeper.isDead(own.token))) continue
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
    generations: keeper.generations,
    leasesEndMs: keeper.leasesEndMs,
    renewLogin: keeper.renewLogin,
    async close() {
      keeper.close()
      outage.close()
      await node.close()
    },
  }
}

/** Faults that come of Vault as a whole as well as of one call; the rest are about the call, or about the broker. */
const mayBeAway = (kind: FaultKind): boolean =>
  !['busy', 'aborted', 'oversized', 'rate_limited', 'not_logged_in', 'denied', 'rejected'].includes(kind)

function troubleOf({ reachable, sealed, version }: VaultHealth): string {
  if (!reachable) return 'Vault cannot be reached'
  if (sealed) return 'Vault is sealed'
  return version === '' ? 'something in front of Vault answers in its place' : ''
}
