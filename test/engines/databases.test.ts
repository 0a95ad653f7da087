import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { field, handleOf } from '../contract/engine-world.ts'
import { leasedUsers, type UserServer } from '../contract/leased-users.ts'
import { baoAvailable } from '../support/bao.ts'
import { type BaoEngine, startBaoEngine } from '../support/bao-engines.ts'
import { programOf, startMaria, startRedis, type TestUserServer } from '../support/user-servers.ts'
import type { VaultApi } from '../support/vault-api.ts'

const target = { engine: 'database', mount: 'database', role: 'orders-ro', params: {} } as const
const lives = { db_name: 'orders', default_ttl: '10m', max_ttl: '1h' }

/** The `database` mount with one connection and one role. */
const setUp = (connection: object, role: object) => async (root: VaultApi) => {
  await root('POST', 'sys/mounts/database', { type: 'database' })
  await root('POST', 'database/config/orders', { allowed_roles: '*', ...connection })
  await root('POST', 'database/roles/orders-ro', { ...lives, ...role })
}

interface World<S extends UserServer> {
  readonly bao: BaoEngine
  readonly server: S
}

/** Both servers, for the tests of one block. */
function worldOf<S extends TestUserServer>(
  start: () => Promise<S>,
  connect: (server: S) => (root: VaultApi) => Promise<void>,
): () => World<S> {
  let world: World<S> | undefined
  const stops: (() => Promise<void>)[] = []
  beforeAll(async () => {
    const server = await start()
    stops.push(server.stop)
    const bao = await startBaoEngine(target, connect(server))
    stops.push(bao.stop)
    world = { bao, server }
  }, 120_000)
  afterAll(() => Promise.all(stops.map((stop) => stop())))
  return () => {
    if (world === undefined) throw new Error('the servers did not start')
    return world
  }
}

const maria = programOf('mariadbd', 'mysqld')
describe.skipIf(!baoAvailable() || maria === undefined)('needs bao and mariadbd or mysqld on PATH: MariaDB', () => {
  const use = worldOf(
    () => startMaria(maria ?? ''),
    ({ host, admin }) =>
      setUp(
        { plugin_name: 'mysql-database-plugin', connection_url: `{{username}}:{{password}}@tcp(${host})/`, ...admin },
        {
          creation_statements: [
            "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'",
            "GRANT SELECT ON orders.* TO '{{name}}'@'%'",
          ],
          // A session that is open when its user is dropped would go on.
          revocation_statements: ["DROP USER IF EXISTS '{{name}}'@'%'", "KILL CONNECTION USER '{{name}}'"],
        },
      ),
  )
  leasedUsers(use, 'database_user')

  test('a session that is open when its user is revoked ends with it', async () => {
    const { bao, server } = use()
    const minted = await bao.mint()
    const session = await server.holdOpen(field(minted, 'username'), field(minted, 'password'))
    await bao.engine.revoke(handleOf(minted))
    expect(await session.ended).not.toBe(0)
  })
})

const redis = programOf('redis-server', 'valkey-server')
describe.skipIf(!baoAvailable() || redis === undefined)('needs bao and redis-server on PATH: Redis', () => {
  const use = worldOf(
    () => startRedis(redis ?? ''),
    ({ host, admin }) => {
      const [name, port] = host.split(':')
      return setUp(
        { plugin_name: 'valkey-database-plugin', host: name, port: Number(port), ...admin },
        { creation_statements: ['["~orders*", "+@read"]'] },
      )
    },
  )
  leasedUsers(use, 'database_user')
})
