import type { Secret } from '../base/secret.ts'

/** How the broker logs in to Vault. Files are read at each login, so that what is in them can be rotated. */
export type VaultAuth =
  | { readonly method: 'token'; readonly token: Secret<string> }
  | { readonly method: 'token'; readonly tokenFile: string }
  | {
      readonly method: 'approle'
      readonly mount: string
      readonly roleIdFile: string
      readonly secretIdFile: string
    }

/** What the broker was told, complete and checked: every path is absolute, every duration in milliseconds. Frozen. */
export interface Config {
  /** Public name, without a slash at the end. */
  readonly url: string
  readonly listen: {
    readonly host: string
    readonly port: number
    /** Paths of PEM files, read again on reload. */
    readonly tls: { readonly cert: string; readonly key: string } | undefined
  }
  /** Folder of the policy files. */
  readonly policies: string
  readonly vault: {
    /** Without a slash at the end. */
    readonly address: string
    readonly namespace: string | undefined
    /** PEM file to trust instead of the system's authorities. */
    readonly caFile: string | undefined
    readonly timeoutMs: number
    readonly auth: VaultAuth
  }
  readonly ledger: {
    readonly kind: 'file'
    readonly dir: string
    /** Name of the log in its checkpoints (C2SP). */
    readonly origin: string
    /** `WRIT_LEDGER_KEY`, in place of what is in `keyFile`. */
    readonly key: Secret<string> | undefined
    readonly keyFile: string
    /** `WRIT_SEAL_KEY`, in place of what is in `seal.key` beside `keyFile`. */
    readonly sealKey: Secret<string> | undefined
    readonly previousKeyFile: string | undefined
    readonly anchor: string | undefined
    readonly archive: string | undefined
    readonly public: boolean
    readonly witnesses: readonly {
      /** What log lines call it. */
      readonly name: string
      /** Prefix that it answers under. */
      readonly url: string
      readonly vkey: string
    }[]
    /** Cosignatures that a checkpoint needs to be published. */
    readonly quorum: number
    readonly witnessTimeoutMs: number
  }
  readonly state: { readonly kind: 'memory' }
  readonly limits: {
    /** Requests worked on at once. */
    readonly concurrency: number
    readonly requestTimeoutMs: number
    readonly drainTimeoutMs: number
  }
  readonly reconcile: {
    readonly everyMs: number
    /** Calls to Vault at once, and begun within a second. */
    readonly concurrency: number
    readonly perSecond: number
  }
  /** How much one change of the policies may end at once; see `BrakeLimits`. */
  readonly policyChange: { readonly brake: { readonly percent: number; readonly least: number } }
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error' }
}

/** One thing that is wrong with the configuration, in the place where it was written. */
export interface ConfigProblem {
  /** `writ.yaml:3:5`, or the name of a variable. */
  readonly where: string
  readonly message: string
  /** What to write instead. */
  readonly fix: string
}
