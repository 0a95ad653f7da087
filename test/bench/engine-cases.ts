import { startRabbitmq } from '../support/rabbitmq.ts'
import { slapdAvailable, startSlapd } from '../support/slapd.ts'
import { programOf, startMaria, startRedis } from '../support/user-servers.ts'
import type { VaultApi } from '../support/vault-api.ts'

/** One way to mint, as the broker is told of it and as it is done without the broker. */
export interface EngineCase {
  readonly name: string
  /** The lines of its Credential document that are its own. */
  readonly credential: string
  readonly mint: { readonly method: 'GET' | 'POST'; readonly path: string; readonly body?: object }
  /** Parameters of the caller. */
  readonly params?: Readonly<Record<string, string>>
  /** What the broker's token must be allowed beside the mint, as lines of a Vault policy. */
  readonly needs?: readonly string[]
  /** Whether Vault keeps a lease or a token for each, which bounds what any broker can gain. */
  readonly leases: boolean
}

/** Cases whose servers are up, and what ends those. */
export interface Cases {
  readonly cases: readonly EngineCase[]
  /** What could not be measured, and why. */
  readonly missing: readonly string[]
  stop(): Promise<void>
}

const input = Buffer.from('x'.repeat(400)).toString('base64')
const lookup = (path: string): string => `path "sys/leases/lookup/${path}/" { capabilities = ["list", "sudo"] }`

/** Those that need nothing but Vault. */
const plain: readonly EngineCase[] = [
  {
    name: 'transit',
    credential: 'engine: transit\nmount: transit\nkey: tokens\naudience: https://orders.example.com\nttl: { max: 1h }',
    mint: { method: 'POST', path: 'transit/sign/tokens', body: { input, marshaling_algorithm: 'jws' } },
    needs: ['path "transit/keys/tokens" { capabilities = ["read"] }'],
    leases: false,
  },
  {
    name: 'token',
    credential: 'engine: token\nrole: bench\npolicies: [bench-reader]\nttl: { max: 1h }',
    mint: {
      method: 'POST',
      path: 'auth/token/create/bench',
      body: {
        policies: ['bench-reader'],
        ttl: '3600s',
        explicit_max_ttl: '3600s',
        renewable: false,
        no_default_policy: true,
      },
    },
    needs: ['path "auth/token/revoke-accessor" { capabilities = ["update"] }'],
    leases: true,
  },
]

const users = (name: string, engine: string, path: string): EngineCase => ({
  name,
  credential: `engine: ${engine}\nmount: ${path.split('/')[0]}\nrole: bench\nexclusive: false\nttl: { max: 1h }`,
  mint: { method: 'GET', path },
  needs: [lookup(path)],
  leases: true,
})

/** Mounts, roles and servers for every engine that this machine can run. */
export async function startCases(api: VaultApi): Promise<Cases> {
  const stops: (() => Promise<void>)[] = []
  const cases = [...plain]
  const missing: string[] = []
  const stop = async (): Promise<void> => {
    for (const each of stops.toReversed()) await each()
  }
  const offer = async (made: EngineCase, needed: boolean, setUp: () => Promise<void>): Promise<void> => {
    if (!needed) return void missing.push(made.name)
    await setUp()
    cases.push(made)
  }
  try {
    await api('POST', 'sys/policies/acl/bench-reader', { policy: 'path "static/*" { capabilities = ["read"] }' })
    await api('POST', 'auth/token/roles/bench', {
      allowed_policies: ['bench-reader'],
      orphan: false,
      renewable: false,
      token_no_default_policy: true,
    })
    const [maria, redis, rabbit] = [
      programOf('mariadbd', 'mysqld'),
      programOf('redis-server'),
      programOf('rabbitmq-server'),
    ]
    await offer(users('mariadb', 'database', 'mariadb/creds/bench'), maria !== undefined, async () => {
      const server = await startMaria(maria ?? '')
      stops.push(server.stop)
      const connection = {
        plugin_name: 'mysql-database-plugin',
        connection_url: `{{username}}:{{password}}@tcp(${server.host})/`,
      }
      await database(api, 'mariadb', { ...connection, ...server.admin }, [
        "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'",
      ])
    })
    await offer(users('redis', 'database', 'redis/creds/bench'), redis !== undefined, async () => {
      const server = await startRedis(redis ?? '')
      stops.push(server.stop)
      const [host, port] = server.host.split(':')
      const connection = { plugin_name: 'valkey-database-plugin', host, port: Number(port), ...server.admin }
      await database(api, 'redis', connection, '["~orders", "+get"]')
    })
    await offer(users('rabbitmq', 'rabbitmq', 'rabbitmq/creds/bench'), rabbit !== undefined, async () => {
      const server = await startRabbitmq(rabbit ?? '')
      stops.push(server.stop)
      await api('POST', 'sys/mounts/rabbitmq', { type: 'rabbitmq' })
      await api('POST', 'rabbitmq/config/connection', { connection_uri: server.url, ...server.admin })
      await api('POST', 'rabbitmq/config/lease', { ttl: 3600, max_ttl: 7200 })
      await api('POST', 'rabbitmq/roles/bench', { tags: 'management' })
    })
    await offer(users('ldap', 'ldap', 'ldap/creds/bench'), slapdAvailable(), async () => {
      const server = await startSlapd()
      stops.push(server.stop)
      const dn = `cn={{.Username}},ou=users,${server.suffix}`
      await api('POST', 'sys/mounts/ldap', { type: 'ldap' })
      await api('POST', 'ldap/config', {
        url: server.url,
        binddn: server.adminDn,
        bindpass: server.adminPassword,
        schema: 'openldap',
      })
      await api('POST', 'ldap/role/bench', {
        creation_ldif: `dn: ${dn}\nobjectClass: person\ncn: {{.Username}}\nsn: {{.Username}}\nuserPassword: {{.Password}}\n`,
        deletion_ldif: `dn: ${dn}\nchangetype: delete\n`,
        default_ttl: '1h',
        max_ttl: '2h',
      })
    })
    return { cases, missing, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function database(
  api: VaultApi,
  mount: string,
  connection: object,
  creation: string | readonly string[],
): Promise<void> {
  await api('POST', `sys/mounts/${mount}`, { type: 'database' })
  await api('POST', `${mount}/config/bench`, { allowed_roles: '*', ...connection })
  const lives = { db_name: 'bench', default_ttl: '1h', max_ttl: '2h' }
  await api('POST', `${mount}/roles/bench`, { ...lives, creation_statements: creation })
}
