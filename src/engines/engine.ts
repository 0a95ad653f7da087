import type { GrantId } from '../base/ids.ts'
import type { Secret } from '../base/secret.ts'

/** How Vault hands the secret out: in its response, or behind a Vault response-wrapping token that the caller unwraps itself. */
export type Delivery = 'plain' | 'wrapped'

/** What a Credential document says about how to mint, after its own engine's schema accepted it. */
export interface MintTarget {
  readonly credential: string
  readonly engine: string
  readonly mount: string
  /** Role of the mount, or the path below a kv mount. */
  readonly role: string
  /** Fixed parameters; text may hold `{{workload}}`, `{{grant}}`, `{{purpose}}`, `{{environment}}`, `{{owner}}`, `{{task}}`. */
  readonly params: Readonly<Record<string, string | number | boolean | readonly string[]>>
  /** SHA-256 of `params`, where there are any. */
  readonly paramsDigest?: string
  /** For the engines that are told how to ask Vault; `role` is then the whole path below the mount. */
  readonly leased?: LeasedShape
}

/** How the generic leased engine asks Vault, and what it hands on of the answer. */
export interface LeasedShape {
  readonly method: 'read' | 'write'
  /** Parameter that takes the life that was decided, where the path has one. */
  readonly ttlParam?: string
  /** Fields that leave; each must be there. */
  readonly fields: readonly string[]
  /** Fields that leave where Vault answers them. */
  readonly optional: readonly string[]
  readonly id?: { readonly fields: readonly string[]; readonly type: PublicId['type'] }
  /** Where the answer says when the secret ends: in so many seconds, at a second since the epoch, or in the `exp` of a JWT. */
  readonly expires?: { readonly field: string; readonly as: 'seconds' | 'unix_time' | 'jwt' }
  /** False where ending the lease ends nothing, or there is none. */
  readonly revocable: boolean
}

/** One credential to be minted. Every name in `names` is already from the safe alphabet of `engines/template.ts`. */
export interface MintOrder {
  readonly grant: GrantId
  readonly target: MintTarget
  readonly names: Readonly<Record<'workload' | 'grant' | 'purpose' | 'environment' | 'owner' | 'task', string>>
  /** Parameters of the caller that the Credential accepts. Attacker-controlled values. */
  readonly callerParams: Readonly<Record<string, string>>
  readonly ttlSeconds: number
  readonly delivery: Delivery
  /** The key that the caller has proved it holds: what is signed for this grant can be bound to it (`cnf`, RFC 7800). */
  readonly holder?: { readonly jkt: string }
}

/** The handle that ends a secret. It is itself a secret: whoever holds it can act on the lease. */
export type LeaseHandle =
  | { readonly type: 'lease'; readonly id: string }
  /** Accessor of a child token made for one grant; revoking it takes its leases with it. */
  | { readonly type: 'accessor'; readonly id: string }
  | { readonly type: 'certificate'; readonly mount: string; readonly serial: string }

/** A public identifier of what was minted, so that a leak leads back to its grant. */
export interface PublicId {
  readonly type:
    | 'database_user'
    | 'rabbitmq_user'
    | 'certificate_serial'
    | 'ssh_key_id'
    | 'ssh_serial'
    | 'kv_version'
    /** SHA-256 of the secret itself, for tokens that have no name: whoever finds one can ask by its digest. */
    | 'token_sha256'
    | 'ldap_user'
    | 'service_account'
    | 'access_key_id'
    | 'client_id'
    | 'username'
    | 'wrapping_accessor'
    | 'jwt_id'
  readonly value: string
}

/** How long a secret that many may get has stood, and will. Milliseconds since the epoch, by Vault's clock but for the second. */
export interface Rotation {
  readonly rotatedAtMs: number
  /** Absent where nothing rotates it by itself. */
  readonly rotatesAtMs?: number | undefined
  /** Seconds between rotations, where they are regular. */
  readonly everySeconds?: number | undefined
}

export interface Minted {
  /** Vault's own field names (`username`, `password`; `signed_key`; …), or `wrap_info` fields when wrapped. */
  readonly secret: Secret<Readonly<Record<string, unknown>>>
  /** Absent when the engine cannot end the secret before it expires. */
  readonly handle: Secret<LeaseHandle> | undefined
  /** When the secret dies by itself; `undefined` for static secrets. */
  readonly expiresAtMs: number | undefined
  readonly renewable: boolean
  readonly publicIds: readonly PublicId[]
  /** Of a secret that stands: when it was last changed, and when it will be. Absent where Vault does not say. */
  readonly rotation?: Rotation | undefined
  /** The generation of the broker's token that the secret dies with; absent where it does not hang on that token. */
  readonly generation?: number | undefined
}

/** What Vault says of a secret it has made. */
export type LeaseState =
  /** When it was made (ms since the epoch, by Vault's clock), where Vault says. */
  | { readonly live: true; readonly issuedAtMs: number | undefined }
  /** It has ended; when, where Vault says. */
  | { readonly live: false; readonly endedAtMs: number | undefined }

/**
 * One kind of Vault mount. Engines hold no state of grants.
 * Every verb may throw `BrokerFault`: `engine_refused` (Vault said no; nothing was minted), `vault_unavailable`
 * (not reached, sealed, rate-limited: nothing was minted), or an `AmbiguousMint` when the outcome is unknown.
 */
export interface Engine {
  readonly kind: string
  /** False when nothing ends the secret early: shown to the caller, in the ledger and in reports. */
  readonly revocable: (target: MintTarget) => boolean
  /** Public names of the parameters a caller may send for this target. */
  readonly acceptedParams: readonly string[]
  mint(order: MintOrder): Promise<Minted>
  /** Extends the life by up to `ttlSeconds` from now and returns the new expiry. */
  renew(handle: LeaseHandle, ttlSeconds: number): Promise<{ readonly expiresAtMs: number }>
  /** Resolves when Vault has really ended the secret; ending what is already gone succeeds. */
  revoke(handle: LeaseHandle): Promise<void>
  /**
   * Live leases of that mount and role, whatever made them; `undefined` where there are none to list by nature. Vault may hold very
   * many: each handle is made when it is asked for, so that whoever goes through them can pause.
   */
  leases(target: MintTarget): Promise<Iterable<Secret<LeaseHandle>> | undefined>
  /** Asks Vault about one secret. `live: false` only where Vault says plainly that it has ended. */
  lookUp(handle: LeaseHandle): Promise<LeaseState>
  /**
   * What Vault must allow for this target, for `writ doctor` and for messages: path and capability,
   * such as `database/creds/orders-ro` needs `read`.
   */
  needs(target: MintTarget, delivery?: Delivery): readonly { readonly path: string; readonly capability: string }[]
}
