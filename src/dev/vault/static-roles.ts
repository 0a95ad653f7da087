import type { Pool } from 'pg'
import type { Clock, Timer } from '../../base/clock.ts'
import { type Call, type Reply, type Route, VaultError } from './backend.ts'
import { seconds, statements, text } from './fields.ts'
import { randomPassword } from './random.ts'
import { filled, inTransaction } from './sql.ts'

interface StaticRole {
  readonly username: string
  readonly db_name: string
  readonly rotation_statements: readonly string[]
  readonly rotation_period: number
  readonly credential_type: 'password'
}

/** A user that stands, with its password of now. */
interface Standing {
  readonly role: StaticRole
  readonly password: string
  readonly rotatedMs: number
  readonly timer: Timer
}

const shortestPeriodSeconds = 5
const retryMs = 10_000
const changePassword = `ALTER ROLE "{{username}}" WITH PASSWORD '{{password}}'`

interface Deps {
  readonly clock: Clock
  /** @throws VaultError when there is no such connection, or it does not serve that role */
  readonly poolOf: (dbName: string, role: string) => Pool
  /** Names that a dynamic role has. */
  readonly isTaken: (name: string) => boolean
}

/** Static roles: users of PostgreSQL that others made, whose password is changed when the role is made and every period from then on. */
export function createStaticRoles({ clock, poolOf, isTaken }: Deps): {
  readonly routes: readonly Route[]
  stop(): void
} {
  const roles = new Map<string, Standing>()

  async function rotate(name: string, role: StaticRole): Promise<void> {
    const pool = poolOf(role.db_name, name)
    const password = randomPassword()
    const values = { name: role.username, username: role.username, password }
    const sql = role.rotation_statements.length > 0 ? role.rotation_statements : [changePassword]
    await inTransaction(
      pool,
      sql.map((statement) => filled(statement, values)),
    ).catch(() => {
      const said = 'error setting credentials: 1 error occurred:\n\t* failed to execute query: the database refused'
      throw new VaultError(500, `1 error occurred:\n\t* ${said}\n\n\n\n`)
    })
    roles.get(name)?.timer.cancel()
    roles.set(name, { role, password, rotatedMs: clock.now(), timer: due(name, role.rotation_period * 1000) })
  }

  const due = (name: string, afterMs: number): Timer =>
    clock.after(afterMs, () => {
      const standing = roles.get(name)
      if (standing === undefined) return
      void rotate(name, standing.role).catch(() => roles.set(name, { ...standing, timer: due(name, retryMs) }))
    })

  const of = (call: Call): Standing => {
    const found = roles.get(call.names.name ?? '')
    if (found === undefined) throw new VaultError(404)
    return found
  }

  function roleFrom(name: string, body: Readonly<Record<string, unknown>>): StaticRole {
    if (isTaken(name)) throw new VaultError(400, 'Role and Static Role names must be unique')
    const old = roles.get(name)?.role
    const db_name = text(body.db_name, old?.db_name)
    if (db_name === '') throw new VaultError(400, 'database name is a required field')
    const username = text(body.username)
    if (username === '') throw new VaultError(400, 'username is a required field to create a static account')
    if (old !== undefined && old.username !== username)
      throw new VaultError(400, 'cannot update static account username')
    const rotation_period = seconds(body.rotation_period) ?? old?.rotation_period
    if (rotation_period === undefined)
      throw new VaultError(400, 'rotation_period is required to create static accounts')
    if (rotation_period < shortestPeriodSeconds)
      throw new VaultError(400, `rotation_period must be ${shortestPeriodSeconds} seconds or more`)
    const rotation_statements =
      'rotation_statements' in body ? statements(body.rotation_statements) : (old?.rotation_statements ?? [])
    return { username, db_name, rotation_statements, rotation_period, credential_type: 'password' }
  }

  async function write(call: Call): Promise<undefined> {
    const name = call.names.name ?? ''
    const role = roleFrom(name, call.body)
    const standing = roles.get(name)
    if (standing === undefined) await rotate(name, role)
    else {
      standing.timer.cancel()
      const leftMs = standing.rotatedMs + role.rotation_period * 1000 - clock.now()
      roles.set(name, { ...standing, role, timer: due(name, Math.max(0, leftMs)) })
    }
    return undefined
  }

  function remove(call: Call): undefined {
    const name = call.names.name ?? ''
    roles.get(name)?.timer.cancel()
    roles.delete(name)
    return undefined
  }

  const rotatedAt = ({ rotatedMs }: Standing): string => new Date(rotatedMs).toISOString()

  function credentials(call: Call): Reply {
    const name = call.names.name ?? ''
    const standing = roles.get(name)
    if (standing === undefined) throw new VaultError(400, `unknown role: ${name}`)
    const { role, password, rotatedMs } = standing
    poolOf(role.db_name, name)
    const leftMs = rotatedMs + role.rotation_period * 1000 - clock.now()
    return {
      data: {
        username: role.username,
        password,
        ttl: Math.max(0, Math.round(leftMs / 1000)),
        rotation_period: role.rotation_period,
        last_vault_rotation: rotatedAt(standing),
      },
    }
  }

  return {
    routes: [
      {
        pattern: 'static-roles/:name',
        exists: (call) => roles.has(call.names.name ?? ''),
        on: {
          read: (call) => ({ data: { ...of(call).role, last_vault_rotation: rotatedAt(of(call)) } }),
          update: write,
          delete: remove,
        },
      },
      { pattern: 'static-creds/:name', on: { read: credentials } },
      {
        pattern: 'rotate-role/:name',
        on: {
          update: async (call) => {
            const standing = roles.get(call.names.name ?? '')
            if (standing === undefined) throw new VaultError(400, 'no static role found for role name')
            await rotate(call.names.name ?? '', standing.role)
            return undefined
          },
        },
      },
    ],
    stop() {
      for (const { timer } of roles.values()) timer.cancel()
    },
  }
}
