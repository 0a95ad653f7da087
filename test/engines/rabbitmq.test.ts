import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { field, handleOf } from '../contract/engine-world.ts'
import { leasedUsers } from '../contract/leased-users.ts'
import { baoAvailable } from '../support/bao.ts'
import { type BaoEngine, startBaoEngine } from '../support/bao-engines.ts'
import { startRabbitmq, type TestRabbitmq } from '../support/rabbitmq.ts'
import { programOf } from '../support/user-servers.ts'

const program = programOf('rabbitmq-server')
const target = { engine: 'rabbitmq', mount: 'rabbitmq', role: 'orders-reader', params: {} } as const

describe.skipIf(!baoAvailable() || program === undefined)('needs bao and rabbitmq-server on PATH: RabbitMQ', () => {
  let bao: BaoEngine
  let server: TestRabbitmq
  const stops: (() => Promise<void>)[] = []
  beforeAll(async () => {
    server = await startRabbitmq(program ?? '')
    stops.push(server.stop)
    bao = await startBaoEngine(target, async (root) => {
      await root('POST', 'sys/mounts/rabbitmq', { type: 'rabbitmq' })
      await root('POST', 'rabbitmq/config/connection', { connection_uri: server.url, ...server.admin })
      // The life of these leases is that of the mount.
      await root('POST', 'rabbitmq/config/lease', { ttl: 600, max_ttl: 3600 })
      await root('POST', 'rabbitmq/roles/orders-reader', {
        tags: 'management',
        vhosts: JSON.stringify({ '/': { configure: '^$', write: '^$', read: '^orders$' } }),
      })
    })
    stops.push(bao.stop)
  }, 240_000)
  afterAll(() => Promise.all(stops.map((stop) => stop())))

  leasedUsers(() => ({ bao, server }), 'rabbitmq_user')

  test('the user has the tags and the permissions of its role and no more', async () => {
    const minted = await bao.mint()
    const [username, password] = [field(minted, 'username'), field(minted, 'password')]
    const { status, body } = await server.api(username, password, 'GET', 'whoami')
    expect({ status, body }).toMatchObject({ status: 200, body: { name: username, tags: ['management'] } })
    expect(
      (await server.api(server.admin.username, server.admin.password, 'PUT', 'queues/%2F/orders', {})).status,
    ).toBe(201)
    const get = { count: 1, ackmode: 'ack_requeue_true', encoding: 'auto' }
    expect((await server.api(username, password, 'POST', 'queues/%2F/orders/get', get)).status).toBe(200)
    // Neither may it read another queue, nor make one.
    expect((await server.api(server.admin.username, server.admin.password, 'PUT', 'queues/%2F/other', {})).status).toBe(
      201,
    )
    expect((await server.api(username, password, 'POST', 'queues/%2F/other/get', get)).status).not.toBe(200)
    expect((await server.api(username, password, 'PUT', 'queues/%2F/mine', {})).status).not.toBe(201)
    await bao.engine.revoke(handleOf(minted))
    expect((await server.api(username, password, 'GET', 'whoami')).status).toBe(401)
  })
})
