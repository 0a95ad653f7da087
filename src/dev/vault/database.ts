import type { Pool } from 'pg'
import type { Clock } from '../../base/clock.ts'
import { type Backend, type Call, type Reply, systemMaxTtlSeconds, VaultError } from './backend.ts'
import { commaList, count, flag, seconds, statements, text } from './fields.ts'
import type { Leases } from './leases.ts'
import { randomPassword, randomText } from './random.ts'
import { filled, inTransaction } from './sql.ts'
import { createStaticRoles } from './static-roles.ts'

interface Connection {
  readonly pool: Pool
  readonly allowedRoles: readonly string[]
  readonly shown: Readonly<Record<string, unknown>>
}

interface Role {
  readonly db_name: string
  readonly creation_statements: readonly string[]
  readonly revocation_statements: readonly string[]
  readonly renew_statements: readonly string[]
  readonly rollback_statements: readonly string[]
  readonly default_ttl: number
  readonly max_ttl: number
  readonly credential_type: string
}

// PostgreSQL cuts names at 63 bytes, and two cut names could be one.
const longestName = 63

/** The shape Vault gives names in PostgreSQL: who asked, the role, chance and time. */
function userName(displayName: string, role: string, nowMs: number): string {
  const name = `v-${displayName.slice(0, 8)}-${role.slice(0, 8)}-${randomText(20)}-${Math.floor(nowMs / 1000)}`
  return name.slice(0, longestName)
}

const sqlTime = (ms: number): string =>
  new Date(ms)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, '+0000')

/** What is done where a role names no revocation statements: take every privilege away, then drop the role. */
async function dropByDefault(pool: Pool, name: string): Promise<void> {
  const quoted = `"${name.replaceAll('"', '""')}"`
  const { rows } = await pool.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [name])
  if (rows.length === 0) return
  const schemas = await pool.query<{ table_schema: string }>(
    'SELECT DISTINCT table_schema FROM information_schema.role_column_grants WHERE grantee = $1',
    [name],
  )
  const names = new Set(['public', ...schemas.rows.map((row) => row.table_schema)])
  const revokes = [...names].flatMap((schema) => {
    const at = `"${schema.replaceAll('"', '""')}"`
    return [
      `REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA ${at} FROM ${quoted}`,
      `REVOKE ALL PRIVILEGES ON ALL SEQUENCES IN SCHEMA ${at} FROM ${quoted}`,
      `REVOKE USAGE ON SCHEMA ${at} FROM ${quoted}`,
    ]
  })
  const { rows: databases } = await pool.query<{ name: string }>('SELECT quote_ident(current_database()) AS name')
  const connect = databases.map((row) => `REVOKE CONNECT ON DATABASE ${row.name} FROM ${quoted}`)
  await inTransaction(pool, [...revokes, ...connect, `DROP ROLE IF EXISTS ${quoted}`])
}

async function openPool(url: string, maxConnections: number): Promise<Pool> {
  const { Pool } = await import('pg').then(
    (module) => module.default,
    () => {
      throw new VaultError(500, 'the package pg is not installed; the development server needs it for PostgreSQL')
    },
  )
  const pool = new Pool({ connectionString: url, max: maxConnections, connectionTimeoutMillis: 10_000 })
  // A connection that breaks while idle must not end the process; the next use makes a new one.
  pool.on('error', () => {})
  return pool
}

async function connect(body: Readonly<Record<string, unknown>>): Promise<Connection> {
  if (!text(body.plugin_name).startsWith('postgresql-database-plugin')) {
    throw new VaultError(400, 'the development server knows postgresql-database-plugin only')
  }
  const template = text(body.connection_url)
  if (template === '') throw new VaultError(400, 'error creating database object: connection_url cannot be empty')
  const username = text(body.username)
  const password = text(body.password)
  const url = template
    .replace(/\{\{\s*username\s*\}\}/g, encodeURIComponent(username))
    .replace(/\{\{\s*password\s*\}\}/g, encodeURIComponent(password))
  const pool = await openPool(url, count(body.max_open_connections, 4))
  if (flag(body.verify_connection, true)) {
    try {
      await pool.query('SELECT 1')
    } catch {
      await pool.end()
      throw new VaultError(400, 'error creating database object: error verifying connection: ping failed')
    }
  }
  return {
    pool,
    allowedRoles: commaList(body.allowed_roles),
    shown: {
      allowed_roles: commaList(body.allowed_roles),
      connection_details: { connection_url: template, username },
      password_policy: '',
      plugin_name: text(body.plugin_name),
      plugin_version: '',
      root_credentials_rotate_statements: [],
    },
  }
}

const mayServe = (connection: Connection, role: string): boolean =>
  connection.allowedRoles.some(
    (item) => item === '*' || item === role || (item.endsWith('*') && role.startsWith(item.slice(0, -1))),
  )

/** The database secrets engine for PostgreSQL: real roles, dropped when their lease ends. */
export function createDatabase(deps: { clock: Clock; leases: Leases; mountPath: string }): Backend {
  const { clock, leases } = deps
  const connections = new Map<string, Connection>()
  const retired: Connection[] = []
  const roles = new Map<string, Role>()

  const roleFrom = (body: Readonly<Record<string, unknown>>, old: Role | undefined): Role => {
    const pick = (key: 'creation_statements' | 'revocation_statements' | 'renew_statements' | 'rollback_statements') =>
      key in body ? statements(body[key]) : (old?.[key] ?? [])
    const role: Role = {
      db_name: text(body.db_name, old?.db_name),
      creation_statements: pick('creation_statements'),
      revocation_statements: pick('revocation_statements'),
      renew_statements: pick('renew_statements'),
      rollback_statements: pick('rollback_statements'),
      default_ttl: seconds(body.default_ttl) ?? old?.default_ttl ?? 0,
      max_ttl: seconds(body.max_ttl) ?? old?.max_ttl ?? 0,
      credential_type: text(body.credential_type, old?.credential_type ?? 'password'),
    }
    if (role.db_name === '') throw new VaultError(400, 'empty database name attribute')
    return role
  }
  const poolOf = (dbName: string, name: string): Pool => {
    const connection = connections.get(dbName)
    if (connection === undefined)
      throw new VaultError(500, `1 error occurred:\n\t* failed to find entry for connection with name: "${dbName}"\n\n`)
    if (!mayServe(connection, name))
      throw new VaultError(500, `1 error occurred:\n\t* "${name}" is not an allowed role\n\n`)
    return connection.pool
  }
  const stands = createStaticRoles({ clock, poolOf, isTaken: (name) => roles.has(name) })

  const giveCredentials = async (call: Call): Promise<Reply> => {
    const name = call.names.name ?? ''
    const role = roles.get(name)
    if (role === undefined) throw new VaultError(400, `unknown role: ${name}`)
    const pool = poolOf(role.db_name, name)
    const { config } = call.mount
    const maxTtl = Math.min(...[role.max_ttl, config.max_lease_ttl, systemMaxTtlSeconds].filter((value) => value > 0))
    const ttl = Math.min(role.default_ttl || config.default_lease_ttl || systemMaxTtlSeconds, maxTtl)
    const username = userName(call.token?.displayName ?? '', name, clock.now())
    const password = randomPassword()
    const expiration = (ms: number): string => sqlTime(ms)
    const values = { name: username, username, password, expiration: expiration(clock.now() + ttl * 1000) }
    if (role.creation_statements.length === 0)
      throw new VaultError(500, '1 error occurred:\n\t* empty creation statements\n\n')
    await inTransaction(
      pool,
      role.creation_statements.map((statement) => filled(statement, values)),
    ).catch(() => {
      throw new VaultError(500, '1 error occurred:\n\t* failed to execute query\n\n')
    })
    const revocation = role.revocation_statements
    const renewal =
      role.renew_statements.length > 0 ? role.renew_statements : [`ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}'`]
    const lease = leases.add({
      prefix: `${deps.mountPath}creds/${name}/`,
      tokenId: call.token?.id ?? '',
      ttlSeconds: ttl,
      maxTtlSeconds: maxTtl,
      renewable: true,
      end: () =>
        revocation.length === 0
          ? dropByDefault(pool, username)
          : inTransaction(
              pool,
              revocation.map((statement) => filled(statement, { name: username, username })),
            ),
      extend: (expiresMs) =>
        inTransaction(
          pool,
          renewal.map((statement) =>
            filled(statement, { name: username, username, expiration: expiration(expiresMs) }),
          ),
        ),
    })
    return { data: { password, username }, lease: { id: lease.id, durationSeconds: ttl, renewable: true } }
  }

  const listNames = (names: Iterable<string>): Reply => {
    const keys = [...names].sort()
    if (keys.length === 0) throw new VaultError(404)
    return { data: { keys } }
  }
  const named = <T>(table: ReadonlyMap<string, T>, call: Call): T => {
    const found = table.get(call.names.name ?? '')
    if (found === undefined) throw new VaultError(404)
    return found
  }

  return {
    routes: [
      { pattern: 'config/', on: { list: () => listNames(connections.keys()) } },
      {
        pattern: 'config/:name',
        exists: (call) => connections.has(call.names.name ?? ''),
        on: {
          read: (call) => ({ data: named(connections, call).shown }),
          update: async (call) => {
            const name = call.names.name ?? ''
            const fresh = await connect(call.body)
            const old = connections.get(name)
            connections.set(name, fresh)
            // Leases hold the pool they were made with; it closes when the server stops.
            if (old !== undefined) retired.push(old)
            return undefined
          },
          delete: (call) => {
            const old = connections.get(call.names.name ?? '')
            connections.delete(call.names.name ?? '')
            if (old !== undefined) retired.push(old)
            return undefined
          },
        },
      },
      { pattern: 'roles/', on: { list: () => listNames(roles.keys()) } },
      {
        pattern: 'roles/:name',
        exists: (call) => roles.has(call.names.name ?? ''),
        on: {
          read: (call) => ({ data: { ...named(roles, call) } }),
          update: (call) => {
            const name = call.names.name ?? ''
            roles.set(name, roleFrom(call.body, roles.get(name)))
            return undefined
          },
          delete: (call) => void roles.delete(call.names.name ?? ''),
        },
      },
      { pattern: 'creds/:name', on: { read: giveCredentials } },
      ...stands.routes,
    ],
    async stop() {
      stands.stop()
      await Promise.all([...connections.values(), ...retired].map(({ pool }) => pool.end()))
    },
  }
}
