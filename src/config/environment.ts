import { Secret } from '../base/secret.ts'
import { type PlatformVariables, readPlatformVariables } from './platform-variables.ts'

/** What the process was started with, read once. This file is the only reader of `process.env`; a test enforces it. */
export interface Environment {
  /** `NODE_ENV`; `writ dev` refuses `production`. */
  readonly nodeEnv: string | undefined
  /** `WRIT_URL`: the broker that client commands talk to. */
  readonly brokerUrl: string | undefined
  /** `WRIT_TOKEN`. */
  readonly token: Secret<string> | undefined
  /** `WRIT_TOKEN_FILE`. */
  readonly tokenFile: string | undefined
  /** `WRIT_TOKEN_FROM`: the platform to ask for a token, without looking which one this is. */
  readonly tokenFrom: string | undefined
  /** `WRIT_CONFIG`: the file `serve` and `doctor` read when `--config` is absent. */
  readonly configFile: string | undefined
  /** `WRIT_LEDGER_KEY` and `WRIT_SEAL_KEY`: the keys of the ledger, where a platform hands out secrets as variables. */
  readonly ledgerKey: Secret<string> | undefined
  readonly sealKey: Secret<string> | undefined
  /** What the platform this runs on says of itself. */
  readonly platform: PlatformVariables
  /** `VAULT_ADDR`, `VAULT_TOKEN`, `VAULT_NAMESPACE`, `VAULT_CACERT`, with Vault's own meaning. */
  readonly vault: {
    readonly address: string | undefined
    readonly token: Secret<string> | undefined
    readonly namespace: string | undefined
    readonly caFile: string | undefined
  }
  /** `REDIS_URL`; may hold a password. */
  readonly redisUrl: Secret<string> | undefined
  /** Every `OTEL_…` variable that is set. */
  readonly otel: Readonly<Record<string, string>>
  /** Every `WRIT_…` variable that is set; the overrides of `writ.yaml` are looked up here. */
  readonly writ: Readonly<Record<string, string>>
  /** `XDG_RUNTIME_DIR`: a folder of this user alone that goes with the session. */
  readonly runtimeDir: string | undefined
  /** `NO_COLOR` is set, or the terminal is dumb. */
  readonly plainText: boolean
  /** A copy of everything, to start a child process with. Never print it. */
  readonly child: () => Record<string, string>
}

/** Reads the environment. An empty variable counts as absent. */
export function readEnvironment(source: NodeJS.ProcessEnv = process.env): Environment {
  const all = Object.freeze(
    Object.fromEntries(Object.entries(source).filter((pair): pair is [string, string] => pair[1] !== undefined)),
  )
  const text = (name: string): string | undefined => (all[name] === '' ? undefined : all[name])
  const secret = (name: string): Secret<string> | undefined => {
    const value = text(name)
    return value === undefined ? undefined : new Secret(value)
  }
  const startingWith = (prefix: string): Readonly<Record<string, string>> =>
    Object.freeze(
      Object.fromEntries(Object.entries(all).filter(([name, value]) => name.startsWith(prefix) && value !== '')),
    )
  return Object.freeze({
    nodeEnv: text('NODE_ENV'),
    brokerUrl: text('WRIT_URL'),
    token: secret('WRIT_TOKEN'),
    tokenFile: text('WRIT_TOKEN_FILE'),
    tokenFrom: text('WRIT_TOKEN_FROM'),
    configFile: text('WRIT_CONFIG'),
    ledgerKey: secret('WRIT_LEDGER_KEY'),
    sealKey: secret('WRIT_SEAL_KEY'),
    platform: readPlatformVariables(text),
    vault: Object.freeze({
      address: text('VAULT_ADDR'),
      token: secret('VAULT_TOKEN'),
      namespace: text('VAULT_NAMESPACE'),
      caFile: text('VAULT_CACERT'),
    }),
    redisUrl: secret('REDIS_URL'),
    otel: startingWith('OTEL_'),
    writ: startingWith('WRIT_'),
    runtimeDir: text('XDG_RUNTIME_DIR'),
    plainText: text('NO_COLOR') !== undefined || text('TERM') === 'dumb',
    child: () => ({ ...all }),
  })
}
