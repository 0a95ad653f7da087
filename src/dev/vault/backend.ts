import type { Token } from './tokens.ts'

/** What Vault makes of the HTTP method: `create` and `update` are one verb to handlers and two to policies. */
export type Operation = 'read' | 'list' | 'update' | 'delete' | 'patch'

/** One request as a mount sees it. `body` is the caller's and unchecked. */
export interface Call {
  readonly operation: Operation
  /** Below the mount, without a leading slash; a list always ends in a slash. */
  readonly path: string
  /** Parts of the path that the route named. */
  readonly names: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, unknown>>
  readonly query: URLSearchParams
  /** Absent on the few routes that need no token. */
  readonly token: Token | undefined
  readonly mount: Mount
}

/** `auth` of a response, in Vault's own names. */
export type AuthReply = Readonly<Record<string, unknown>>

/** What a handler answers; the server adds the envelope. Nothing at all is 204. */
export interface Reply {
  readonly status?: number
  readonly data?: Readonly<Record<string, unknown>> | null
  readonly auth?: AuthReply
  readonly lease?: { readonly id: string; readonly durationSeconds: number; readonly renewable: boolean }
  readonly warnings?: readonly string[]
  /** Some `sys` routes repeat their data beside the envelope. */
  readonly flat?: boolean
  /** Answered as it is: certificates, keys, and the routes that have no envelope. */
  readonly raw?: { readonly type: string; readonly body: string | Uint8Array }
  /** A stored response, handed back whole when it is unwrapped. */
  readonly whole?: Readonly<Record<string, unknown>>
}

type Handler = (call: Call) => Reply | undefined | Promise<Reply | undefined>

/** `creds/:name` names one segment, a trailing `*rest` takes all that is left. */
export interface Route {
  readonly pattern: string
  readonly on: Partial<Record<Operation, Handler>>
  /** Needs no token. */
  readonly open?: boolean
  /** Needs `sudo` on top of the capability of the operation. */
  readonly sudo?: boolean | readonly Operation[]
  /** Where policies tell creating from updating: whether the thing is there already. */
  readonly exists?: (call: Call) => boolean
}

/** One secrets engine or auth method behind a mount. */
export interface Backend {
  readonly routes: readonly Route[]
  stop?(): Promise<void>
}

/** Where a backend is mounted, and the limits of that mount. */
export interface Mount {
  /** Ends in a slash. */
  readonly path: string
  readonly type: string
  readonly accessor: string
  readonly uuid: string
  readonly description: string
  readonly options: Readonly<Record<string, string>> | null
  readonly config: { readonly default_lease_ttl: number; readonly max_lease_ttl: number }
}

/** An answer that is an error; `errors` is Vault's own wording, which clients match on. */
export class VaultError extends Error {
  readonly status: number
  readonly errors: readonly string[]

  constructor(status: number, ...errors: string[]) {
    super(errors.join('; ') || `status ${status}`)
    this.name = 'VaultError'
    this.status = status
    this.errors = errors
  }
}

/** What the policy check and the router answer: their errors come as a list of one. */
export const listed = (status: number, text: string): VaultError =>
  new VaultError(status, `1 error occurred:\n\t* ${text}\n\n`)

/** Greatest and default life of a lease where nothing says less: 32 days, as Vault has it. */
export const systemMaxTtlSeconds = 2_764_800
