import pg from 'pg'
import type { Clock } from '../../src/base/clock.ts'
import type { Log } from '../../src/base/log.ts'
import { compose, type Running } from '../../src/compose.ts'
import type { Config } from '../../src/config/config.ts'
import type { StoredEntryView } from '../../src/contract/ledger.ts'
import { brokerConfig } from '../../src/dev/broker-config.ts'
import { type DevStack, startDevStack } from '../../src/dev/stack.ts'
import type { Claim } from '../../src/identity/identity.ts'
import { startBao, type TestBao } from './bao.ts'
import { type Answer, type Call, callApi } from './call-api.ts'
import { copyPolicies, type PolicyFolder } from './policy-folder.ts'
import { type VaultApi, vaultApi } from './vault-api.ts'

export interface WorldOptions {
  /** The development server, or a real one: in memory, on raft storage with an audit device, or one that the test has started. */
  readonly vault?: 'embedded' | 'bao-dev' | 'bao-raft' | { readonly url: string; readonly token: string }
  /** Changes the worked organisation before anything is started. */
  readonly policies?: (folder: PolicyFolder) => Promise<void>
  readonly config?: (config: Config) => Config
  /** Runs when everything but the broker is up. */
  readonly prepare?: (stack: DevStack) => Promise<void>
  /** Moves the whole world, the embedded Vault included; see `shiftedClock`. */
  readonly clock?: Clock
  /** Without it nothing is logged, but kept in `World.logged`. */
  readonly log?: Log
  /** False leaves the broker out: the stack alone. */
  readonly broker?: boolean
}

interface Bearer {
  readonly as?: string
  readonly claims?: Readonly<Record<string, Claim>>
}

export interface LogLine {
  readonly event: string
  readonly level: 'info' | 'warn' | 'error'
  readonly [field: string]: unknown
}

/** Everything there is in production, running for one test file: issuer, PostgreSQL, Vault and the broker over HTTP. */
export interface World {
  readonly url: string
  readonly stack: DevStack
  readonly bao: TestBao | undefined
  readonly policies: PolicyFolder
  readonly ledger: { readonly dir: string; readonly vkey: string }
  readonly logged: LogLine[]
  /** May do anything in Vault: looks behind the broker's back. */
  readonly root: VaultApi
  /** A fresh token of a workload or a person. */
  token(as: string, claims?: Readonly<Record<string, Claim>>, ttlSeconds?: number): Promise<string>
  /** Calls the broker. `as` fetches a fresh token first, with `claims` laid over it. */
  api(method: string, path: string, call?: Call & Bearer): Promise<Answer>
  issue(as: string, request: object, claims?: Bearer['claims']): Promise<Answer>
  /** Every entry of the ledger that matches, as the auditor reads it over HTTP. */
  entries(query?: Readonly<Record<string, string>>): Promise<readonly StoredEntryView['entry'][]>
  /** What PostgreSQL says to this user: `in`, or the SQLSTATE of its refusal. */
  login(secret: unknown): Promise<string>
  /** Ids of the leases Vault lists for a role of the database mount. */
  leases(role: string): Promise<readonly string[]>
  /** Stops the broker as SIGTERM does and starts another on the same ledger. */
  restart(): Promise<void>
  stopBroker(): Promise<void>
  stop(): Promise<void>
}

/** Starts a world; what had started is stopped again when a later part fails. */
export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const closers: (() => Promise<unknown>)[] = []
  const stop = async (): Promise<void> => {
    for (const close of closers.splice(0).toReversed()) await close()
  }
  try {
    const policies = await copyPolicies()
    closers.push(policies.close)
    await options.policies?.(policies)
    const bao = await startRealVault(options.vault)
    if (bao !== undefined) closers.push(bao.stop)
    const stack = await startDevStack({
      issuerPort: 0,
      policiesDir: policies.dir,
      vault: typeof options.vault === 'object' ? options.vault : choiceOf(bao),
      env: { PATH: process.env.PATH ?? '' },
      ...(options.clock === undefined ? {} : { clock: options.clock }),
    })
    closers.push(stack.stop)
    await options.prepare?.(stack)
    return await withBroker(options, { policies, stack, bao, closers, stop })
  } catch (error) {
    await stop()
    throw error
  }
}

const choiceOf = (bao: TestBao | undefined) =>
  bao === undefined ? 'embedded' : { url: bao.address, token: bao.rootToken }

const startRealVault = async (vault: WorldOptions['vault']): Promise<TestBao | undefined> =>
  vault !== 'bao-dev' && vault !== 'bao-raft' ? undefined : startBao({ mode: vault === 'bao-raft' ? 'raft' : 'dev' })

interface Under {
  readonly policies: PolicyFolder
  readonly stack: DevStack
  readonly bao: TestBao | undefined
  readonly closers: (() => Promise<unknown>)[]
  stop(): Promise<void>
}

async function withBroker(options: WorldOptions, { policies, stack, bao, closers, stop }: Under): Promise<World> {
  const logged: LogLine[] = []
  const config = configOf(options, stack, policies)
  let broker: Running | undefined
  const start = async (): Promise<void> => {
    const { log = keepingLog(logged), clock } = options
    const identity = { keysFor: stack.issuer.keysFor, allowLoopbackHttp: true }
    broker = await compose(config, { log, identity, ...(clock === undefined ? {} : { clock }) })
  }
  const running = (): Running => {
    if (broker === undefined) throw new Error('the broker is not running')
    return broker
  }
  const stopBroker = async (): Promise<void> => {
    await broker?.close()
    broker = undefined
  }
  closers.push(stopBroker)
  if (options.broker !== false) await start()

  const root = vaultApi(stack.vault.address, stack.vault.token)
  const token: World['token'] = (as, claims, ttlSeconds) =>
    stack.issuer.token({ as, ...(claims && { claims }), ...(ttlSeconds && { ttlSeconds }) })
  const api: World['api'] = async (method, path, { as, claims, ...call } = {}) =>
    callApi(running().url, method, path, as === undefined ? call : { ...call, token: await token(as, claims) })
  return {
    get url() {
      return running().url
    },
    get ledger() {
      return running().ledger
    },
    stack,
    bao,
    policies,
    logged,
    root,
    token,
    api,
    issue: (as, body, claims) => api('POST', '/v1/credentials', { as, body, ...(claims && { claims }) }),
    entries: (query = {}) => allEntries(api, query),
    login: (secret) => tryLogin(stack.postgres.url, secret),
    leases: (role) => leasesOf(root, role),
    async restart() {
      await stopBroker()
      await start()
    },
    stopBroker,
    stop,
  }
}

function configOf({ config = (given) => given }: WorldOptions, stack: DevStack, policies: PolicyFolder): Config {
  const url = 'https://writ.example.com'
  return config({ ...brokerConfig(stack, { port: 0, policiesDir: policies.dir }), url })
}

function keepingLog(lines: LogLine[]): Log {
  const keep = (level: LogLine['level']) => (fields: Record<string, unknown>, event: string) =>
    void lines.push({ ...fields, event, level })
  return { info: keep('info'), warn: keep('warn'), error: keep('error') }
}

async function allEntries(api: World['api'], query: Readonly<Record<string, string>>) {
  const found: StoredEntryView['entry'][] = []
  for (let after: string | undefined; ; ) {
    const page = new URLSearchParams({ ...query, limit: '1000', ...(after && { after }) })
    const { status, body } = await api('GET', `/v1/ledger/entries?${page}`, { as: 'dana@security' })
    if (status !== 200) throw new Error(`the auditor cannot read the ledger: ${status}`)
    found.push(...body.entries.map(({ entry }) => entry))
    if (body.next === null) return found
    after = String(body.next)
  }
}

/** Logs in to the database at `url` as the user of a secret. */
async function tryLogin(url: string, secret: unknown): Promise<string> {
  const { username, password } = secret as { username: string; password: string }
  const target = new URL(url)
  const { hostname: host, port, pathname } = target
  const client = new pg.Client({ host, port: Number(port), database: pathname.slice(1), user: username, password })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('SELECT count(*) FROM orders')
    return 'in'
  } catch (error) {
    if (error instanceof Error && 'code' in error && /^[0-9A-Z]{5}$/.test(String(error.code))) return String(error.code)
    throw error
  } finally {
    await client.end()
  }
}

async function leasesOf(root: VaultApi, role: string): Promise<readonly string[]> {
  const path = `sys/leases/lookup/database/creds/${role}/`
  const { status, body } = await root('LIST', path)
  if (status === 404) return []
  if (status !== 200) throw new Error(`${path}: ${status}`)
  const { keys } = (body as { data: { keys: string[] } }).data
  return keys.map((key) => `database/creds/${role}/${key}`)
}

/** The machine's time, moved on by hand: real timers run, what is due by the clock is due at once. */
export function shiftedClock(): Clock & { shift(ms: number): void } {
  let offsetMs = 0
  return {
    now: () => Date.now() + offsetMs,
    after(delayMs, run) {
      const handle = setTimeout(run, Math.min(Math.max(0, delayMs), 2 ** 31 - 1))
      handle.unref()
      return { cancel: () => clearTimeout(handle) }
    },
    shift(ms) {
      offsetMs += ms
    },
  }
}
