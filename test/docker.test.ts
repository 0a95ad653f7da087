import { spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseDocument, stringify } from 'yaml'
import { readEnvironment } from '../src/config/environment.ts'
import { loadConfig } from '../src/config/load.ts'
import { ended, eventually, freePort, guard } from './support/child.ts'
import { startPostgres, type TestPostgres } from './support/postgres.ts'
import { runWrit } from './support/serve.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const docker = join(root, 'docker')
const read = (path: string): string => readFileSync(join(docker, path), 'utf8')
const has = (program: string): boolean => spawnSync(program, ['version'], { stdio: 'ignore' }).status === 0

interface Service {
  readonly image?: string
  readonly read_only?: boolean
  readonly cap_drop?: string[]
  readonly security_opt?: string[]
  readonly secrets?: string[]
  readonly volumes?: string[]
  readonly ports?: string[]
  readonly environment?: Record<string, string>
  readonly healthcheck?: unknown
}

describe('the compose file', () => {
  const document = parseDocument(read('compose.yaml'), { merge: true })
  const compose = document.toJS() as {
    services: Record<string, Service>
    secrets: Record<string, { file: string }>
    volumes: Record<string, unknown>
  }
  const services = Object.entries(compose.services)

  it('is YAML without errors or warnings', () => {
    expect([...document.errors, ...document.warnings]).toEqual([])
  })

  it.each(services)('runs %s read-only, without capabilities to spare and without a way to more', (_, service) => {
    expect(service.read_only).toBe(true)
    expect(service.cap_drop).toEqual(['ALL'])
    expect(service.security_opt).toContain('no-new-privileges:true')
  })

  it('declares every secret and volume that a service names, and makes no secret public', () => {
    for (const [, service] of services) {
      for (const name of service.secrets ?? []) expect(Object.keys(compose.secrets)).toContain(name)
      for (const volume of service.volumes ?? []) {
        const [source = ''] = volume.split(':')
        if (source.startsWith('.')) expect(existsSync(join(docker, source)), source).toBe(true)
        else expect(Object.keys(compose.volumes)).toContain(source)
      }
      for (const value of Object.values(service.environment ?? {}))
        expect(String(value)).not.toMatch(/password=|:[^/@]+@/i)
    }
    expect(Object.values(compose.secrets).every(({ file }) => file.startsWith('./secrets/'))).toBe(true)
  })

  it('publishes nothing but the broker, and that on loopback only', () => {
    const published = services.filter(([, service]) => service.ports !== undefined)
    expect(published.map(([name, service]) => [name, service.ports])).toEqual([['writ', ['127.0.0.1:8787:8787']]])
  })

  it('gives the broker a configuration that loads', () => {
    const loaded = loadConfig({ file: join(docker, 'writ/writ.yaml'), environment: readEnvironment({}) })
    expect(loaded).toMatchObject({ ok: true, value: { warnings: [] } })
  })
})

describe('the Dockerfile', () => {
  const lines = read('Dockerfile').split('\n')
  const stage = lines.slice(lines.findIndex((line) => / AS writ$/.test(line)))

  it('pins the Node that the project is developed on', () => {
    const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    expect(lines).toContain(`ARG NODE_VERSION=${devDependencies.node}`)
  })

  it('runs the broker as a user who is not root, as process 1, with a health check', () => {
    const base = lines.slice(
      0,
      lines.findIndex((line) => / AS openbao$/.test(line)),
    )
    expect(base).toContain('USER node')
    expect(stage.join('\n')).not.toMatch(/^USER /m)
    expect(stage).toContain('ENTRYPOINT ["node", "/app/bin/writ.js"]')
    expect(stage.join('\n')).toMatch(/^HEALTHCHECK /m)
  })

  it('copies only what is there, and only what the context lets through', () => {
    const allowed = read('Dockerfile.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'))
    const copied = lines
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from'))
      .flatMap((line) => line.split(/\s+/).slice(1, -1))
    for (const path of copied) {
      expect(existsSync(join(root, path)), path).toBe(true)
      expect(allowed, path).toContain(`!${path}`)
    }
  })
})

const scripts = ['make-secrets.sh', 'openbao/bootstrap.sh', 'postgres/20-vault-admin.sh']

describe('the scripts', () => {
  it.each(scripts)('%s is a valid shell script that stops at the first error', (script) => {
    expect(spawnSync('sh', ['-n', join(docker, script)]).status).toBe(0)
    expect(read(script)).toMatch(/^set -eu$/m)
    expect(statSync(join(docker, script)).mode & 0o111).not.toBe(0)
  })

  it.skipIf(!has('shellcheck'))('shellcheck finds nothing in them', () => {
    const { status, stdout } = spawnSync(
      'shellcheck',
      scripts.map((script) => join(docker, script)),
      { encoding: 'utf8' },
    )
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  })
})

// From here on everything is real but the containers: the scripts, OpenBao on raft storage with TLS, and PostgreSQL.
describe.skipIf(!has('bao') || !has('openssl'))('a machine that is set up with these files (bao)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'writ-docker-'))
  const at = (...path: string[]): string => join(folder, ...path)
  let postgres: TestPostgres
  let address: string
  let stopBao: () => Promise<void> = async () => {}
  const environment: Record<string, string> = { PATH: process.env.PATH ?? '', HOME: folder }

  beforeAll(async () => {
    cpSync(docker, at('docker'), { recursive: true })
    await Promise.all(['file', 'logs', 'state', 'login'].map((name) => mkdir(at(name))))
    expect(spawnSync('sh', [at('docker/make-secrets.sh')], { stdio: 'ignore' }).status).toBe(0)
    postgres = await startPostgres()
    await fillPostgres(postgres, readFileSync(at('docker/secrets/vault_admin_password'), 'utf8'))
    ;({ address, stop: stopBao } = await startBao(at))
    Object.assign(environment, {
      BAO_ADDR: address,
      BAO_CACERT: at('docker/secrets/ca.pem'),
      DATABASE_HOST: new URL(postgres.url).host,
      DATABASE_SSLMODE: 'disable',
      DATABASE_PASSWORD_FILE: at('docker/secrets/vault_admin_password'),
      STATE_DIR: at('state'),
      LOGIN_DIR: at('login'),
    })
  })
  afterAll(async () => {
    await stopBao()
    await postgres?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  const bootstrap = (extra: Record<string, string> = {}) =>
    spawnSync('sh', [at('docker/openbao/bootstrap.sh')], { env: { ...environment, ...extra }, encoding: 'utf8' })
  const bao = (args: string[], token: string) =>
    spawnSync('bao', args, { env: { ...environment, BAO_TOKEN: token }, encoding: 'utf8' })

  it('keeps the secrets from others, and makes none twice', () => {
    expect(statSync(at('docker/secrets')).mode & 0o777).toBe(0o700)
    const before = readdirSync(at('docker/secrets')).map((name) => readFileSync(at('docker/secrets', name), 'hex'))
    expect(spawnSync('sh', [at('docker/make-secrets.sh')], { stdio: 'ignore' }).status).toBe(0)
    const after = readdirSync(at('docker/secrets')).map((name) => readFileSync(at('docker/secrets', name), 'hex'))
    expect(after).toEqual(before)
  })

  it('is bootstrapped once, keeps no root token, and leaves a login that only its owner can read', () => {
    const first = bootstrap()
    expect(first.stderr).not.toMatch(/Error/)
    expect(first.status).toBe(0)
    const rootToken = /s\.[A-Za-z0-9]{24}/
    expect(readFileSync(at('state/init.json'), 'utf8')).not.toMatch(rootToken)
    expect(first.stdout).not.toMatch(rootToken)
    for (const name of ['role_id', 'secret_id']) expect(statSync(at('login', name)).mode & 0o777).toBe(0o400)
    expect(bootstrap()).toMatchObject({ status: 0, stdout: expect.stringContaining('set up already') })
  })

  it('rotates the first password of vault_admin away', async () => {
    const first = readFileSync(at('docker/secrets/vault_admin_password'), 'utf8')
    expect(await postgres.canLogIn('vault_admin', first)).toBe(false)
  })

  it('writes every request to the audit log', () => {
    expect(readFileSync(at('logs/audit.log'), 'utf8')).toContain('auth/approle/role/writ')
  })

  it('gives the broker every permission that the policies need, as writ doctor sees it', async () => {
    writeFileSync(at('writ.yaml'), writYaml(at, address))
    const { stdout } = await runWrit(['doctor', '--config', at('writ.yaml'), '--json'])
    const { checks } = JSON.parse(stdout) as { checks: { check: string; verdict: string; detail: string }[] }
    const local = checks.filter(({ check }) => !check.startsWith('issuer'))
    expect(local.filter(({ verdict }) => verdict === 'fail')).toEqual([])
    expect(local.map(({ check }) => check)).toEqual(
      expect.arrayContaining(['vault login', 'vault permissions', 'clock']),
    )
  })

  it('mints a database user who can read, and who is gone when the lease is revoked; the broker may do no more', async () => {
    const login = bao(
      [
        'write',
        '-field=token',
        'auth/approle/login',
        ...['role_id', 'secret_id'].map((name) => `${name}=@${at('login', name)}`),
      ],
      '',
    )
    const token = login.stdout.trim()
    const minted = JSON.parse(bao(['read', '-format=json', 'database/creds/orders-ro'], token).stdout)
    const { username, password } = minted.data
    expect(await postgres.canLogIn(username, password)).toBe(true)
    const ended = bao(['write', 'sys/leases/revoke', `lease_id=${minted.lease_id}`, 'sync=true'], token)
    expect(ended.stderr).toBe('')
    expect(await postgres.canLogIn(username, password)).toBe(false)
    for (const path of ['database/config/orders', 'sys/policies/acl/writ-broker', 'auth/approle/role/writ/role-id']) {
      expect(bao(['read', path], token).stderr, path).toContain('permission denied')
    }
  })
})

async function fillPostgres({ adminUrl }: TestPostgres, password: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl })
  await client.connect()
  await client.query('DROP TABLE orders')
  await client.query(read('postgres/10-orders.sql'))
  await client.query("INSERT INTO customers VALUES (1, 'Ada', 'ada@example.com')")
  await client.query("INSERT INTO orders VALUES (1, 1, 'a book', 1, now())")
  await client.query(`ALTER ROLE vault_admin LOGIN PASSWORD ${client.escapeLiteral(password)}`)
  await client.end()
}

/** The server of compose.yaml with its own configuration; only paths and ports are those of this machine. */
async function startBao(at: (...path: string[]) => string): Promise<{ address: string; stop: () => Promise<void> }> {
  const [port, clusterPort] = [await freePort(), await freePort()]
  const config = readFileSync(at('docker/openbao/config.hcl'), 'utf8')
    .replaceAll('/openbao/file', at('file'))
    .replaceAll('/openbao/logs', at('logs'))
    .replaceAll('/run/secrets', at('docker/secrets'))
    .replace(/https:\/\/openbao:8200/, `https://127.0.0.1:${port}`)
    .replace(/https:\/\/openbao:8201/, `https://127.0.0.1:${clusterPort}`)
    .replace('0.0.0.0:8200', `127.0.0.1:${port}`)
    .replace('0.0.0.0:8201', `127.0.0.1:${clusterPort}`)
  expect(config).not.toMatch(/0\.0\.0\.0|openbao:820/)
  writeFileSync(at('config.hcl'), config)
  const child = spawn('bao', ['server', `-config=${at('config.hcl')}`], { stdio: 'ignore', cwd: at() })
  if (child.pid === undefined) throw new Error('bao did not start')
  const release = guard(child.pid, 'KILL')
  const address = `https://127.0.0.1:${port}`
  const up = async () => {
    const { status } = spawnSync('bao', ['status'], {
      env: { PATH: process.env.PATH ?? '', BAO_ADDR: address, BAO_CACERT: at('docker/secrets/ca.pem') },
    })
    return status === 0 || status === 2 ? true : undefined
  }
  await eventually(up, 'OpenBao answers')
  return {
    address,
    async stop() {
      child.kill('SIGKILL')
      await ended(child)
      release()
    },
  }
}

function writYaml(at: (...path: string[]) => string, address: string): string {
  return stringify({
    url: 'https://writ.example.com',
    listen: { port: 0, tls: { cert: at('docker/secrets/writ.pem'), key: at('docker/secrets/writ.key') } },
    policies: join(root, 'policies'),
    vault: {
      address,
      caFile: at('docker/secrets/ca.pem'),
      auth: { method: 'approle', roleIdFile: at('login/role_id'), secretIdFile: at('login/secret_id') },
    },
    ledger: { dir: at('ledger'), keyFile: at('keys/ledger.key') },
  })
}
