import { chmod, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { type Clock, systemClock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { type Log, silentLog } from '../base/log.ts'
import type { Secret } from '../base/secret.ts'
import type { PolicySet } from '../policy/compile.ts'
import { loadPolicies, problemText } from '../policy/load.ts'
import { type DevIssuer, startDevIssuer } from './issuer.ts'
import { removeDevPostgres, startDevPostgres } from './postgres.ts'
import { fillDatabase } from './sample-data.ts'
import { setUpVault } from './setup.ts'
import { startDevVault } from './vault/server.ts'
import { type StackVault, startVaultChild } from './vault-child.ts'

/** Which Vault the stack uses: its own, a real one it starts, or one that runs already. */
export type VaultChoice = 'embedded' | 'bao' | { readonly url: string; readonly token: string | undefined }

export interface StackOptions {
  /** Port of the issuer; 0 takes a free one. */
  readonly issuerPort: number
  /** Reused when it is there. Without it a fresh one is made in the temporary folder and removed at the end. */
  readonly dataDir?: string
  readonly policiesDir: string
  readonly vault: VaultChoice
  /** Environment of child processes; `PATH` is what they are found by. */
  readonly env: Readonly<Record<string, string>>
  readonly clock?: Clock
  readonly log?: Log
  /** Told in words what is being started, for people who wait. */
  readonly onProgress?: (step: string) => void
}

/** Everything around the broker, running. */
export interface DevStack {
  readonly issuer: DevIssuer
  readonly vault: {
    readonly address: string
    /** May do everything; for looking behind the broker. */
    readonly token: string
    readonly kind: 'embedded' | 'openbao' | 'vault'
    /** What the broker is meant to use: it allows what its engines need and no more. */
    readonly brokerToken: Secret<string>
  }
  /** Superuser, in the database that holds the sample tables. */
  readonly postgres: { readonly url: string }
  readonly policies: PolicySet
  readonly dataDir: string
  /** Ends everything, last started first. Ending twice is harmless. */
  stop(): Promise<void>
}

/** The stack cannot be started as asked; the message says what to change. */
export class StackRefused extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'StackRefused'
  }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** One stack a folder: two would stop each other's database. The lock of a process that is gone is taken over. */
async function lockFolder(dataDir: string): Promise<() => Promise<void>> {
  const file = join(dataDir, 'dev.pid')
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const handle = await open(file, 'wx', 0o600)
      await handle.writeFile(`${process.pid}\n`)
      await handle.close()
      return () => rm(file, { force: true })
    } catch (cause) {
      if (!(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST')) {
        throw new StackRefused(`the data folder ${dataDir} cannot be written: ${messageOf(cause)}`, { cause })
      }
      const pid = Number((await readFile(file, 'utf8').catch(() => '')).trim())
      if (Number.isInteger(pid) && pid > 0 && isAlive(pid)) {
        throw new StackRefused(`the data folder ${dataDir} is used by another writ dev (process ${pid})`)
      }
      await rm(file, { force: true })
    }
  }
  throw new StackRefused(`the data folder ${dataDir} is being taken by another writ dev`)
}

const temporaryPrefix = 'writ-dev-'

/** Removes the temporary folders of runs that were killed, which could not do it themselves. */
async function removeAbandoned(): Promise<void> {
  const names = await readdir(tmpdir()).catch(() => [])
  for (const name of names.filter((candidate) => candidate.startsWith(temporaryPrefix))) {
    const dir = join(tmpdir(), name)
    const pid = Number((await readFile(join(dir, 'dev.pid'), 'utf8').catch(() => '')).trim())
    const owner = await stat(dir).catch(() => undefined)
    if (!Number.isInteger(pid) || pid <= 0 || isAlive(pid) || owner?.uid !== process.getuid?.()) continue
    await removeDevPostgres(dir)
    await rm(dir, { recursive: true, force: true })
  }
}

async function openFolder(dataDir: string | undefined): Promise<{ dir: string; close: () => Promise<void> }> {
  if (dataDir === undefined) {
    await removeAbandoned()
    const dir = await mkdtemp(join(tmpdir(), temporaryPrefix))
    // PostgreSQL may run as another user, who must be able to walk through; what is inside is closed by itself.
    await chmod(dir, 0o711)
    await lockFolder(dir)
    const close = async (): Promise<void> => {
      await removeDevPostgres(dir)
      await rm(dir, { recursive: true, force: true })
    }
    return { dir, close }
  }
  const dir = resolve(dataDir)
  try {
    await mkdir(dir, { recursive: true, mode: 0o711 })
  } catch (cause) {
    throw new StackRefused(`the data folder ${dir} cannot be made: ${messageOf(cause)}`, { cause })
  }
  return { dir, close: await lockFolder(dir) }
}

async function loadOrRefuse(dir: string): Promise<PolicySet> {
  const loaded = await loadPolicies(dir)
  if (loaded.ok) return loaded.set
  const lines = loaded.problems.filter(({ severity }) => severity === 'error').map(problemText)
  throw new StackRefused(`the policies cannot be used:\n${lines.slice(0, 20).join('\n')}`)
}

async function openVault(choice: VaultChoice, dataDir: string, options: StackOptions): Promise<StackVault> {
  const { clock = systemClock, log = silentLog } = options
  if (choice === 'embedded') {
    const server = await startDevVault({ clock, log })
    return { address: server.address, token: server.rootToken, kind: 'embedded', stop: server.stop }
  }
  if (choice === 'bao') return await startVaultChild({ dataDir, env: options.env })
  if (choice.token === undefined)
    throw new StackRefused('VAULT_TOKEN must hold a token that may set up the Vault given')
  const address = choice.url.replace(/\/+$/, '')
  const health = await fetch(`${address}/v1/sys/health`).then(
    async (answer) => (await answer.json()) as { version?: unknown; enterprise?: unknown },
    (cause: unknown) => {
      throw new StackRefused(`the Vault at ${address} cannot be reached`, { cause })
    },
  )
  const kind = health.enterprise === undefined ? 'openbao' : 'vault'
  return { address, token: choice.token, kind, stop: async () => {} }
}

/** Policies as they are on disk now; a set that cannot be read leaves the one before in force. */
function freshPolicies(dir: string, first: PolicySet): () => Promise<PolicySet> {
  let last = Promise.resolve(first)
  let read: string | undefined
  return async () => {
    const now = await stampOf(dir)
    if (now === undefined || now !== read) {
      read = now
      const before = last
      last = loadPolicies(dir).then((loaded) => (loaded.ok ? loaded.set : before))
    }
    return last
  }
}

/** Changes with every edit of a file below the folder. */
async function stampOf(dir: string): Promise<string | undefined> {
  try {
    const files = await readdir(dir, { recursive: true })
    const stamps = files.sort().map(async (name) => {
      const { mtimeNs, size } = await stat(join(dir, name), { bigint: true })
      return `${name} ${mtimeNs} ${size}`
    })
    return (await Promise.all(stamps)).join('\n')
  } catch {
    // A file went while it was looked at: whatever there is now is read.
    return undefined
  }
}

/**
 * Starts an issuer, PostgreSQL with sample tables, and a Vault set up for every credential the policies name; all on
 * loopback. Everything but the broker, which is composed over it. Whatever started is stopped again when a later part fails.
 * @throws StackRefused, PostgresUnavailable, VaultChildUnavailable
 */
export async function startDevStack(options: StackOptions): Promise<DevStack> {
  const { clock = systemClock, log = silentLog, onProgress = () => {} } = options
  const closers: (() => Promise<void>)[] = []
  let stopping: Promise<void> | undefined
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      for (const close of closers.toReversed()) await close().catch(() => {})
    })()
    return stopping
  }
  try {
    const set = await loadOrRefuse(options.policiesDir)
    const folder = await openFolder(options.dataDir)
    closers.push(folder.close)
    const policies = freshPolicies(options.policiesDir, set)
    onProgress('starting PostgreSQL, Vault and the issuer')
    // Settled and not raced: whatever did start must be stopped when another did not.
    const [postgres, vault, issuer] = await Promise.allSettled([
      startDevPostgres({ dataDir: folder.dir }),
      openVault(options.vault, folder.dir, options),
      startDevIssuer({ port: options.issuerPort, clock, policies }),
    ])
    for (const part of [postgres, vault, issuer]) if (part.status === 'fulfilled') closers.push(() => part.value.stop())
    if (postgres.status === 'rejected') throw postgres.reason
    if (vault.status === 'rejected') throw vault.reason
    if (issuer.status === 'rejected') throw portTaken(issuer.reason, options.issuerPort)
    onProgress('setting up the database and the mounts the policies name')
    // An embedded Vault forgets its leases when it ends, so the users of the run before are nobody's any more.
    const databaseUrl = await fillDatabase(postgres.value.url, { dropUsers: vault.value.kind === 'embedded' })
    const { address, token, kind } = vault.value
    const { brokerToken } = await setUpVault({ address, token, policies: set, databaseUrl, clock, log, onProgress })
    return {
      issuer: issuer.value,
      vault: { address, token, kind, brokerToken },
      postgres: { url: databaseUrl },
      policies: set,
      dataDir: folder.dir,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function portTaken(error: unknown, port: number): unknown {
  const taken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
  return taken ? new StackRefused(`port ${port}, which the issuer would use, is taken; choose another --port`) : error
}

/** Writes a file whole or not at all, for its owner alone: a reader never sees half of it. */
export async function writeReadyFile(file: string, value: unknown): Promise<void> {
  const whole = resolve(file)
  const partial = `${whole}.${process.pid}.part`
  try {
    await writeFile(partial, `${JSON.stringify(value)}\n`, { mode: 0o600 })
    await rename(partial, whole)
  } catch (cause) {
    await rm(partial, { force: true })
    throw new StackRefused(`the ready file ${whole} cannot be written: ${messageOf(cause)}`, { cause })
  }
}
