import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ended, eventually, freePort, guard } from './child.ts'
import type { TestUserServer } from './user-servers.ts'

/** A RabbitMQ of its own with its management plugin. */
export interface TestRabbitmq extends TestUserServer {
  /** Of its management API. */
  readonly url: string
  /** Calls the management API as that user. */
  api(
    username: string,
    password: string,
    method: string,
    path: string,
    body?: object,
  ): Promise<{ status: number; body: unknown }>
}

const admin = { username: 'admin', password: 'test-admin' }

/**
 * Starts a node that shares nothing with another one on the machine: a name, a folder, ports and an epmd of its own. Its process ends
 * with this one, its folder is removed.
 */
export async function startRabbitmq(program: string): Promise<TestRabbitmq> {
  const folder = await mkdtemp(join(tmpdir(), 'writ-rabbitmq-'))
  const [port, distPort, epmdPort, managementPort] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ]
  await writeFile(join(folder, 'enabled_plugins'), '[rabbitmq_management].')
  await writeFile(
    join(folder, 'rabbitmq.conf'),
    `listeners.tcp.1 = 127.0.0.1:${port}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = ${managementPort}\n` +
      `default_user = ${admin.username}\ndefault_pass = ${admin.password}\n`,
  )
  const own = {
    HOME: folder,
    RABBITMQ_NODENAME: `writ-${port}@localhost`,
    RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
    RABBITMQ_LOG_BASE: join(folder, 'log'),
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'),
    RABBITMQ_GENERATED_CONFIG_DIR: join(folder, 'generated'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
    RABBITMQ_FEATURE_FLAGS_FILE: join(folder, 'feature_flags'),
    RABBITMQ_CONF_ENV_FILE: join(folder, 'none'),
    RABBITMQ_PID_FILE: join(folder, 'pid'),
    RABBITMQ_DIST_PORT: String(distPort),
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
  }
  const env = { ...process.env, ...own }
  const epmd = spawn('epmd', [], { stdio: 'ignore', env })
  const releaseEpmd = epmd.pid === undefined ? () => {} : guard(epmd.pid, 'KILL')
  const child = spawn(program, [], { stdio: 'ignore', cwd: folder, env })
  const url = `http://127.0.0.1:${managementPort}`
  const api: TestRabbitmq['api'] = async (username, password, method, path, body) => {
    const response = await fetch(`${url}/api/${path}`, {
      method,
      headers: {
        authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) }
  }
  const up = async () =>
    (await api(admin.username, admin.password, 'GET', 'overview')).status === 200 ? true : undefined
  await eventually(up, 'the management plugin answers', 180_000)
  // The program is a shell around the node.
  const pid = Number(await readFile(own.RABBITMQ_PID_FILE, 'utf8'))
  const release = guard(pid, 'KILL', folder)
  return {
    host: `127.0.0.1:${port}`,
    url,
    admin,
    api,
    async logIn(username, password) {
      const { status } = await api(username, password, 'GET', 'whoami')
      if (status === 200 || status === 401) return status === 200
      throw new Error(`RabbitMQ answered ${status}`)
    },
    async stop() {
      process.kill(pid, 'SIGKILL')
      epmd.kill('SIGKILL')
      await Promise.all([ended(child), ended(epmd)])
      release()
      releaseEpmd()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
