import { execFile, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { ended, eventually, freePort, guard } from './child.ts'

const run = promisify(execFile)

/** The first of those programs that is where Debian keeps servers, or on PATH. Debian's PATH has a wrapper that insists on its own user. */
export function programOf(...names: readonly string[]): string | undefined {
  const folders = ['/usr/lib/rabbitmq/bin', ...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path))
}

/** A server of its own in a temporary folder, with somebody who may make users. */
export interface TestUserServer {
  readonly host: string
  readonly admin: { readonly username: string; readonly password: string }
  logIn(username: string, password: string): Promise<boolean>
  stop(): Promise<void>
}

const admin = { username: 'admin', password: 'test-admin' }

interface Start {
  readonly program: string
  readonly args: readonly string[]
  readonly folder: string
  readonly env?: Readonly<Record<string, string>>
}

/** Runs a server that ends with this process, and its folder with it. */
function start({ program, args, folder, env = {} }: Start): () => Promise<void> {
  const child = spawn(program, args, { stdio: 'ignore', cwd: folder, env: { ...process.env, HOME: folder, ...env } })
  const release = child.pid === undefined ? () => {} : guard(child.pid, 'KILL', folder)
  return async () => {
    child.kill('SIGTERM')
    await ended(child)
    release()
    await rm(folder, { recursive: true, force: true })
  }
}

export interface TestMaria extends TestUserServer {
  /** A session that waits: resolves once it is open, and with the exit status of its client. */
  holdOpen(username: string, password: string): Promise<{ readonly ended: Promise<number | null> }>
}

/** MariaDB with a database `orders` of one table. */
export async function startMaria(program: string): Promise<TestMaria> {
  const folder = await mkdtemp(join(tmpdir(), 'writ-maria-'))
  const port = await freePort()
  const user = userInfo().username
  const data = join(folder, 'data')
  const install = programOf('mariadb-install-db', 'mysql_install_db') ?? 'mariadb-install-db'
  await run(install, [
    '--no-defaults',
    `--datadir=${data}`,
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
    `--user=${user}`,
  ])
  const stop = start({
    program,
    folder,
    args: [
      '--no-defaults',
      `--datadir=${data}`,
      `--port=${port}`,
      '--bind-address=127.0.0.1',
      `--socket=${join(folder, 'socket')}`,
      `--pid-file=${join(folder, 'pid')}`,
      `--user=${user}`,
      '--skip-name-resolve',
    ],
  })
  const place = ['--no-defaults', '-h127.0.0.1', `-P${port}`, '-N']
  const sql = (username: string, password: string, statement: string) =>
    run('mysql', [...place, `-u${username}`, '-e', statement], {
      env: { ...process.env, MYSQL_PWD: password },
    })
  await eventually(() => sql('root', '', 'SELECT 1'), 'MariaDB answers', 60_000)
  await sql(
    'root',
    '',
    `CREATE USER '${admin.username}'@'%' IDENTIFIED BY '${admin.password}'; GRANT ALL ON *.* TO '${admin.username}'@'%' WITH GRANT OPTION;` +
      `CREATE DATABASE orders; CREATE TABLE orders.orders (item text); INSERT INTO orders.orders VALUES ('a book')`,
  )
  return {
    host: `127.0.0.1:${port}`,
    admin,
    async logIn(username, password) {
      try {
        return (await sql(username, password, 'SELECT item FROM orders.orders')).stdout === 'a book\n'
      } catch (error) {
        // 1045: wrong password or no such user, which is the answer. Anything else is not one.
        if (String((error as { stderr?: unknown }).stderr).includes('ERROR 1045')) return false
        throw error
      }
    },
    async holdOpen(username, password) {
      const env = { ...process.env, MYSQL_PWD: password }
      const args = [...place, `-u${username}`, '-e', 'SELECT SLEEP(600)']
      const client = spawn('mysql', args, { stdio: 'ignore', env })
      const isOpen = async () => {
        const look = `SELECT COUNT(*) FROM information_schema.processlist WHERE user = '${username}' AND info LIKE '%SLEEP(600)%'`
        return (await sql(admin.username, admin.password, look)).stdout === '1\n' ? true : undefined
      }
      await eventually(isOpen, 'the session is open')
      return { ended: ended(client).then(() => client.exitCode) }
    },
    stop,
  }
}

/** Redis or Valkey with one key `orders`. */
export async function startRedis(program: string): Promise<TestUserServer> {
  const folder = await mkdtemp(join(tmpdir(), 'writ-redis-'))
  const port = await freePort()
  const config = join(folder, 'redis.conf')
  await writeFile(
    config,
    `bind 127.0.0.1\nport ${port}\ndir ${folder}\nsave ""\nuser default off\n` +
      `user ${admin.username} on >${admin.password} ~* &* +@all\n`,
  )
  const stop = start({ program, folder, args: [config] })
  const redis = async (username: string, password: string, ...command: readonly string[]): Promise<string> => {
    const args = ['-h', '127.0.0.1', '-p', String(port), '--user', username, '--no-auth-warning', ...command]
    return (await run('redis-cli', args, { env: { ...process.env, REDISCLI_AUTH: password } })).stdout.trim()
  }
  await eventually(
    async () => ((await redis(admin.username, admin.password, 'SET', 'orders', 'a book')) === 'OK' ? true : undefined),
    'Redis answers',
  )
  return {
    host: `127.0.0.1:${port}`,
    admin,
    async logIn(username, password) {
      const said = await redis(username, password, 'GET', 'orders')
      if (said === 'a book') return true
      if (said.includes('WRONGPASS') || said.includes('NOAUTH')) return false
      throw new Error(`Redis answered ${said}`)
    },
    stop,
  }
}
