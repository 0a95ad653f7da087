import { X509Certificate } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type DevPostgres, startDevPostgres } from '../../src/dev/postgres.ts'
import { type DevVault, startDevVault } from '../../src/dev/vault/server.ts'
import { eventually } from '../support/child.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { strictly, type VaultApi, vaultApi } from '../support/vault-api.ts'

const minuteMs = 60_000

interface Answer {
  readonly lease_id: string
  readonly lease_duration: number
  readonly data: Readonly<Record<string, unknown>>
  readonly auth: { readonly client_token: string; readonly accessor: string; readonly lease_duration: number }
  readonly wrap_info: { readonly token: string; readonly accessor: string }
}

describe('the development server, on a clock of the test', () => {
  let folder: string
  let postgres: DevPostgres
  let admin: pg.Pool
  let clock: FakeClock
  let vault: DevVault
  let root: VaultApi
  let logged: string[]

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'writ-leases-'))
    postgres = await startDevPostgres({ dataDir: folder })
    admin = new pg.Pool({ connectionString: postgres.url })
    // The server ends while the pool is closing.
    admin.on('error', () => {})
    // The users' expiry comes from the server's clock, so it starts at the real time.
    clock = fakeClock(Date.now())
    logged = []
    const log = (fields: Record<string, unknown>, event: string): void =>
      void logged.push(JSON.stringify([event, fields]))
    vault = await startDevVault({ clock, log: { info: log, warn: log, error: log } })
    root = strictly(vaultApi(vault.address, vault.rootToken))
    const url = new URL(postgres.url)
    await root('POST', 'sys/mounts/database', { type: 'database' })
    await root('POST', 'database/config/pg', {
      plugin_name: 'postgresql-database-plugin',
      allowed_roles: '*',
      connection_url: `postgresql://{{username}}:{{password}}@${url.host}${url.pathname}?sslmode=disable`,
      username: url.username,
      password: url.password,
    })
    await role('ro', { revocation_statements: [`DROP ROLE IF EXISTS "{{name}}"`] })
  })

  afterAll(async () => {
    await admin?.end()
    await vault?.stop()
    await postgres?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const role = (name: string, more: object): Promise<unknown> =>
    root('POST', `database/roles/${name}`, {
      db_name: 'pg',
      creation_statements: [`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`],
      default_ttl: '15m',
      max_ttl: '1h',
      ...more,
    })
  const ask = async (api: VaultApi, method: 'GET' | 'POST' | 'LIST', path: string, body?: object): Promise<Answer> =>
    (await api(method, path, body)).body as Answer
  const mint = (name = 'ro', api = root): Promise<Answer> => ask(api, 'GET', `database/creds/${name}`)
  const exists = async (answer: Answer): Promise<boolean> => {
    const { rows } = await admin.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [answer.data.username])
    return rows.length === 1
  }
  const gone = (answer: Answer): Promise<true> =>
    eventually(async () => ((await exists(answer)) ? undefined : true), 'the role is dropped')
  const logIn = async ({ data }: Answer): Promise<string> => {
    const url = new URL(postgres.url)
    url.username = String(data.username)
    url.password = String(data.password)
    const client = new pg.Client({ connectionString: url.href })
    try {
      await client.connect()
      await client.query('SELECT 1')
      return 'in'
    } catch (error) {
      return error instanceof pg.DatabaseError ? String(error.code) : 'other'
    } finally {
      await client.end().catch(() => {})
    }
  }
  const status = async (path: string, body: object, token = vault.rootToken): Promise<number> =>
    (await vaultApi(vault.address, token)('POST', path, body)).status

  test('a user logs in until the lease is revoked, and is refused by PostgreSQL from then on', async () => {
    const answer = await mint()
    expect(answer).toMatchObject({ lease_duration: 900, renewable: true })
    expect(answer.data.username).toMatch(/^v-token-ro-[A-Za-z0-9]{20}-\d{10}$/)
    expect(await logIn(answer)).toBe('in')
    await root('POST', 'sys/leases/revoke', { lease_id: answer.lease_id, sync: true })
    expect(await logIn(answer)).toBe('28P01')
    expect(await exists(answer)).toBe(false)
  })

  test('a lease that is not renewed ends on time and takes its role with it', async () => {
    const answer = await mint()
    await clock.advance(14 * minuteMs)
    expect(await exists(answer)).toBe(true)
    expect(await status('sys/leases/lookup', { lease_id: answer.lease_id })).toBe(200)
    await clock.advance(minuteMs)
    await gone(answer)
    expect(await status('sys/leases/renew', { lease_id: answer.lease_id })).toBe(400)
  })

  test('renewing moves the end, in PostgreSQL too, and never past the greatest life', async () => {
    const answer = await mint()
    const startMs = clock.now()
    const renewed = await ask(root, 'POST', 'sys/leases/renew', { lease_id: answer.lease_id, increment: 7200 })
    expect(renewed).toMatchObject({ lease_duration: 3600 })
    const { rows } = await admin.query('SELECT rolvaliduntil AS until FROM pg_roles WHERE rolname = $1', [
      answer.data.username,
    ])
    expect(Math.abs(rows[0].until.getTime() - (startMs + 3_600_000))).toBeLessThan(1000)
    await clock.advance(59 * minuteMs)
    expect(await exists(answer)).toBe(true)
    const last = await ask(root, 'POST', 'sys/leases/renew', { lease_id: answer.lease_id, increment: 900 })
    expect(last.lease_duration).toBe(60)
    await clock.advance(minuteMs)
    await gone(answer)
  })

  test('a lease can be cut short by renewing it for less', async () => {
    const answer = await mint()
    await root('POST', 'sys/leases/renew', { lease_id: answer.lease_id, increment: 30 })
    await clock.advance(30_000)
    await gone(answer)
  })

  test('a role without revocation statements is dropped with the privileges it was given', async () => {
    await admin.query('CREATE TABLE IF NOT EXISTS things (id integer)')
    await role('granted', {
      creation_statements: [
        `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON things TO "{{name}}"`,
      ],
    })
    const answer = await mint('granted')
    expect(await exists(answer)).toBe(true)
    await root('POST', 'sys/leases/revoke', { lease_id: answer.lease_id, sync: true })
    expect(await exists(answer)).toBe(false)
  })

  test('half a creation is undone whole', async () => {
    await role('half', { creation_statements: [`CREATE ROLE "{{name}}" LOGIN`, 'SELECT 1 / 0'] })
    const before = await admin.query('SELECT count(*)::int AS n FROM pg_roles')
    expect((await vaultApi(vault.address, vault.rootToken)('GET', 'database/creds/half')).status).toBe(500)
    const after = await admin.query('SELECT count(*)::int AS n FROM pg_roles')
    expect(after.rows).toEqual(before.rows)
  })

  test('a revocation that fails says so, keeps the lease, and is tried again until it works', async () => {
    await admin.query('CREATE TABLE IF NOT EXISTS gate (open boolean)')
    await admin.query('DELETE FROM gate')
    await role('stuck', {
      revocation_statements: [`SELECT 1 / (SELECT count(*) FROM gate)`, `DROP ROLE IF EXISTS "{{name}}"`],
    })
    const answer = await mint('stuck')
    expect(await status('sys/leases/revoke', { lease_id: answer.lease_id, sync: true })).toBe(400)
    expect(await exists(answer)).toBe(true)
    expect(await status('sys/leases/lookup', { lease_id: answer.lease_id })).toBe(200)
    const tries = async (count: number): Promise<true> =>
      eventually(
        async () => (logged.filter((line) => line.includes('lease not ended')).length >= count ? true : undefined),
        `${count} tries`,
      )
    await tries(1)
    await clock.advance(10_000)
    await tries(2)
    expect(await exists(answer)).toBe(true)
    await admin.query('INSERT INTO gate VALUES (true)')
    await clock.advance(20_000)
    await gone(answer)
    expect(logged.join('\n')).not.toContain(answer.lease_id)
  })

  test('a token takes its leases and its children with it', async () => {
    await root('PUT', 'sys/policies/acl/minter', {
      policy:
        'path "database/creds/ro" { capabilities = ["read"] }\npath "auth/token/create" { capabilities = ["update"] }',
    })
    const parent = await ask(root, 'POST', 'auth/token/create', { policies: ['minter'], ttl: '1h' })
    const asParent = strictly(vaultApi(vault.address, parent.auth.client_token))
    const child = await ask(asParent, 'POST', 'auth/token/create', { policies: ['minter'], ttl: '1h' })
    const asChild = strictly(vaultApi(vault.address, child.auth.client_token))
    const answers = [await mint('ro', asParent), await mint('ro', asChild)]
    const bystander = await mint()
    await root('POST', 'auth/token/revoke-accessor', { accessor: parent.auth.accessor })
    expect(await Promise.all(answers.map(exists))).toEqual([false, false])
    expect(await exists(bystander)).toBe(true)
    expect((await vaultApi(vault.address, child.auth.client_token)('GET', 'auth/token/lookup-self')).status).toBe(403)
  })

  test('a token that runs out takes its leases with it, however long they had', async () => {
    const token = await ask(root, 'POST', 'auth/token/create', { policies: ['minter'], ttl: '5m' })
    const answer = await mint('ro', strictly(vaultApi(vault.address, token.auth.client_token)))
    await clock.advance(5 * minuteMs)
    await gone(answer)
  })

  test('a token of one use mints once', async () => {
    const token = await ask(root, 'POST', 'auth/token/create', { policies: ['minter'], ttl: '5m', num_uses: 1 })
    const api = vaultApi(vault.address, token.auth.client_token)
    const statuses = await Promise.all([1, 2, 3].map(async () => (await api('GET', 'database/creds/ro')).status))
    expect(statuses.sort()).toEqual([200, 403, 403])
  })

  test('a renewed token lives on, up to its explicit greatest life', async () => {
    const made = await ask(root, 'POST', 'auth/token/create', {
      policies: ['default'],
      ttl: '5m',
      explicit_max_ttl: '8m',
    })
    const api = strictly(vaultApi(vault.address, made.auth.client_token))
    await clock.advance(4 * minuteMs)
    expect((await ask(api, 'POST', 'auth/token/renew-self', { increment: '5m' })).auth.lease_duration).toBe(240)
    await clock.advance(4 * minuteMs)
    expect((await vaultApi(vault.address, made.auth.client_token)('GET', 'auth/token/lookup-self')).status).toBe(403)
  })

  test('a wrapped response opens once, for one of many who try at the same time', async () => {
    const response = await fetch(`${vault.address}/v1/database/creds/ro`, {
      headers: { 'x-vault-token': vault.rootToken, 'x-vault-wrap-ttl': '60s' },
    })
    const wrapped = (await response.json()) as Answer
    expect(JSON.stringify(wrapped)).not.toContain('v-token-')
    const open = vaultApi(vault.address, wrapped.wrap_info.token)
    const answers = await Promise.all([1, 2, 3, 4].map(() => open('POST', 'sys/wrapping/unwrap')))
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 400, 400, 400])
    const inside = answers.find((answer) => answer.status === 200)?.body as Answer
    expect(await logIn(inside)).toBe('in')
  })

  test('a wrapped response that nobody opens in time is lost', async () => {
    const response = await fetch(`${vault.address}/v1/database/creds/ro`, {
      headers: { 'x-vault-token': vault.rootToken, 'x-vault-wrap-ttl': '60s' },
    })
    const { token } = ((await response.json()) as Answer).wrap_info
    await clock.advance(minuteMs)
    expect((await vaultApi(vault.address, token)('POST', 'sys/wrapping/unwrap')).status).toBe(400)
  })

  test('a revoked prefix ends every lease below it and nothing beside it', async () => {
    await role('ro-other', { revocation_statements: [`DROP ROLE IF EXISTS "{{name}}"`] })
    const [one, two, other] = [await mint(), await mint(), await mint('ro-other')]
    await root('PUT', 'sys/leases/revoke-prefix/database/creds/ro')
    expect(await Promise.all([one, two, other].map(exists))).toEqual([false, false, true])
  })

  test('LIST names the live leases of a role on a connection that is kept open', async () => {
    await root('PUT', 'sys/leases/revoke-prefix/database/creds')
    const answers = [await mint(), await mint()]
    const names = answers.map(({ lease_id }) => lease_id.slice('database/creds/ro/'.length)).sort()
    for (let round = 0; round < 3; round++) {
      const { data } = await ask(root, 'LIST', 'sys/leases/lookup/database/creds/ro/')
      expect(data.keys).toEqual(names)
    }
  })

  test('a CRL names exactly what was revoked, signed by the root', async () => {
    await root('POST', 'sys/mounts/pki', { type: 'pki' })
    await root('POST', 'pki/root/generate/internal', { common_name: 'Root', key_type: 'ec', ttl: '700h' })
    await root('POST', 'pki/roles/web', { allow_any_name: true, key_type: 'ec', max_ttl: '1h' })
    const [kept, revoked] = [
      await ask(root, 'POST', 'pki/issue/web', { common_name: 'a.example' }),
      await ask(root, 'POST', 'pki/issue/web', { common_name: 'b.example', uri_sans: '' }),
    ]
    await root('POST', 'pki/revoke', { serial_number: revoked.data.serial_number })
    const authority = new X509Certificate(String(kept.data.issuing_ca))
    const leaf = new X509Certificate(String(kept.data.certificate))
    expect(leaf.verify(authority.publicKey)).toBe(true)
    expect(leaf.checkHost('a.example')).toBe('a.example')
    const { X509Crl } = await import('@peculiar/x509')
    const crl = new X509Crl(await (await fetch(`${vault.address}/v1/pki/crl/pem`)).text())
    const serials = crl.entries.map((entry) => entry.serialNumber.toLowerCase())
    expect(serials).toEqual([String(revoked.data.serial_number).replaceAll(':', '')])
    const { X509Certificate: Peculiar } = await import('@peculiar/x509')
    expect(await crl.verify({ publicKey: new Peculiar(String(kept.data.issuing_ca)) })).toBe(true)
  })

  test('bad requests get an error of their own and leave the server well', async () => {
    const send = async (path: string, init: RequestInit): Promise<number> =>
      (await fetch(`${vault.address}${path}`, { ...init, headers: { 'x-vault-token': vault.rootToken } })).status
    expect(await send('/v1/database/roles/x', { method: 'POST', body: '{bad' })).toBe(400)
    expect(await send('/v1/database/roles/x', { method: 'POST', body: '[]' })).toBe(400)
    expect(await send('/v1/secret/data/x', { method: 'POST', body: 'x'.repeat(2_000_000) })).toBe(413)
    expect(await send('/elsewhere', { method: 'GET' })).toBe(404)
    expect(await send('/v1/secret/data/%E0%A4%A', { method: 'GET' })).toBe(400)
    expect(await send('/v1/database/creds/ro%22%3B%20DROP', { method: 'GET' })).toBe(400)
    expect((await mint()).lease_duration).toBe(900)
  })
})
