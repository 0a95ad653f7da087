import { generateKeyPairSync } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import pg from 'pg'
import sshpk from 'sshpk'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { newId } from '../../src/base/ids.ts'
import { silentLog } from '../../src/base/log.ts'
import { setUpVault } from '../../src/dev/setup.ts'
import { type DevStack, StackRefused, startDevStack, type VaultChoice } from '../../src/dev/stack.ts'
import { mintedAs } from '../../src/engines/delivery.ts'
import type { Delivery, MintOrder } from '../../src/engines/engine.ts'
import { createEngines, type Engines } from '../../src/engines/registry.ts'
import { createVaultSession, type VaultSession } from '../../src/engines/vault-session.ts'
import type { CompiledCredential } from '../../src/policy/compile.ts'
import { baoAvailable } from '../support/bao.ts'
import { vaultApi } from '../support/vault-api.ts'

const policiesDir = resolve(import.meta.dirname, '../../policies')
const env = { PATH: process.env.PATH ?? '' }

const start = (vault: VaultChoice, dataDir?: string): Promise<DevStack> =>
  startDevStack({ issuerPort: 0, policiesDir, vault, env, ...(dataDir === undefined ? {} : { dataDir }) })

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

function publicKey(): string {
  const { publicKey: key } = generateKeyPairSync('ed25519')
  return sshpk.parseKey(key.export({ type: 'spki', format: 'pem' }).toString(), 'pem').toString('ssh')
}

function stackContract(name: string, vault: VaultChoice): void {
  describe(`the stack with ${name}`, () => {
    let stack: DevStack
    let session: VaultSession
    let engines: Engines

    beforeAll(async () => {
      stack = await start(vault)
      const auth = { method: 'token' as const, token: stack.vault.brokerToken }
      session = createVaultSession({ address: stack.vault.address, auth, clock: systemClock, log: silentLog })
      await session.start()
      engines = createEngines(session, systemClock)
    })
    afterAll(async () => {
      await session?.close()
      await stack?.stop()
    })

    const order = (credential: CompiledCredential, delivery: Delivery): MintOrder => ({
      grant: newId('gr', Date.now()),
      target: credential.target,
      names: { workload: 'checkout', grant: 'gr', purpose: 'p', environment: 'prod', owner: 'payments', task: 'none' },
      callerParams: credential.target.engine === 'ssh' ? { public_key: publicKey() } : {},
      ttlSeconds: Math.min(300, credential.maxSeconds ?? 300),
      delivery,
    })
    const mintAll = async (): Promise<void> => {
      for (const credential of stack.policies.credentials) {
        const engine = engines.get(credential.target.engine)
        if (engine === undefined) throw new Error(`no engine ${credential.target.engine}`)
        for (const delivery of new Set(credential.delivery.map(mintedAs))) {
          // A static secret is wrapped whole, so one that names keys is not wrapped at all.
          if (delivery === 'wrapped' && credential.target.params.keys !== undefined) continue
          const minted = await engine.mint(order(credential, delivery))
          expect(Object.keys(minted.secret.reveal()).length, credential.name).toBeGreaterThan(0)
          if (minted.handle !== undefined) await engine.revoke(minted.handle.reveal())
          await engine.leases(credential.target)
        }
      }
    }

    test('every credential of the policies mints, in each delivery, with the token of the broker', mintAll)

    test('and that token can do no more: not read the mounts, not mint elsewhere, not make a root token', async () => {
      const api = vaultApi(stack.vault.address, stack.vault.brokerToken.reveal())
      expect((await api('GET', 'sys/mounts')).status).toBe(403)
      expect((await api('GET', 'database/creds/another-role')).status).toBe(403)
      expect(
        (await api('POST', 'sys/policies/acl/writ-broker', { policy: 'path "*" { capabilities = ["sudo"] }' })).status,
      ).toBe(403)
      expect((await api('POST', 'auth/token/create', { policies: ['root'] })).status).toBeGreaterThanOrEqual(400)
    })

    test('setting up again changes nothing that is in use', async () => {
      const before = await session.read('ssh/config/ca').catch(() => undefined)
      await setUpVault({
        address: stack.vault.address,
        token: stack.vault.token,
        policies: stack.policies,
        databaseUrl: stack.postgres.url,
        clock: systemClock,
        log: silentLog,
      })
      expect(await session.read('ssh/config/ca').catch(() => undefined)).toEqual(before)
      await mintAll()
    })

    test('a user of a reading role reads and cannot write; an open session ends with its user', async () => {
      const credential = stack.policies.byName.credential.get('orders-ro')
      const engine = engines.get('database')
      if (credential === undefined || engine === undefined) throw new Error('no orders-ro')
      const minted = await engine.mint(order(credential, 'plain'))
      const { username, password } = minted.secret.reveal()
      const url = new URL(stack.postgres.url)
      url.username = String(username)
      url.password = String(password)
      const client = new pg.Client({ connectionString: url.href })
      const cut = new Promise<string>((done) => client.on('error', (error) => done(error.message)))
      await client.connect()
      expect((await client.query('SELECT count(*)::int AS n FROM orders')).rows[0].n).toBeGreaterThan(0)
      expect((await client.query('SELECT email FROM customers')).rows.length).toBeGreaterThan(0)
      await expect(client.query('DELETE FROM orders')).rejects.toMatchObject({ code: '42501' })
      await expect(client.query('CREATE TABLE mine (id integer)')).rejects.toMatchObject({ code: '42501' })
      if (minted.handle !== undefined) await engine.revoke(minted.handle.reveal())
      expect(await cut).toContain('terminat')
      const again = new pg.Client({ connectionString: url.href })
      await expect(again.connect()).rejects.toMatchObject({ code: '28P01' })
    })
  })
}

stackContract('the embedded server', 'embedded')
describe.skipIf(!baoAvailable())('needs bao or vault on PATH', () => stackContract('a real server', 'bao'))

describe('a data folder', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'writ-stack-'))
  })
  afterAll(async () => {
    await Promise.all([...elsewhere, folder].map((path) => rm(path, { recursive: true, force: true })))
  })
  const elsewhere: string[] = []
  const cleanUpLater = async (dir: string): Promise<void> => {
    const target = await readlink(join(dir, 'postgres')).catch(() => undefined)
    if (target !== undefined) elsewhere.push(target)
  }

  const query = async (url: string, sql: string): Promise<unknown[]> => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      return (await client.query(sql)).rows
    } finally {
      await client.end()
    }
  }
  const postmaster = async (dir: string): Promise<number> =>
    Number((await readFile(join(dir, 'postgres/cluster/postmaster.pid'), 'utf8')).split('\n')[0])

  test('is kept, and the users of the run before are gone with the Vault that made them', async () => {
    // `mkdtemp` closes the folder to all others, so as root the cluster lies elsewhere, behind a link.
    const dir = join(folder, 'kept')
    const first = await start('embedded', dir)
    await query(first.postgres.url, `INSERT INTO customers VALUES (99, 'Kept', 'kept@example.com')`)
    const api = vaultApi(first.vault.address, first.vault.token)
    const { body } = await api('GET', 'database/creds/orders-ro')
    const { username } = (body as { data: { username: string } }).data
    await first.stop()
    const second = await start('embedded', dir)
    await cleanUpLater(dir)
    try {
      expect(await query(second.postgres.url, 'SELECT name FROM customers WHERE id = 99')).toEqual([{ name: 'Kept' }])
      expect(await query(second.postgres.url, `SELECT 1 FROM pg_roles WHERE rolname = '${username}'`)).toEqual([])
    } finally {
      await second.stop()
    }
  })

  test('serves one at a time, and the lock of a process that is gone is no lock', async () => {
    const dir = join(folder, 'locked')
    const stack = await start('embedded', dir)
    try {
      await expect(start('embedded', dir)).rejects.toThrow(/another writ dev/)
      expect(isAlive(await postmaster(dir))).toBe(true)
    } finally {
      await stack.stop()
    }
    await writeFile(join(dir, 'dev.pid'), '2147483646\n')
    await (await start('embedded', dir)).stop()
    await cleanUpLater(dir)
  })

  test('a cluster that was half made is made again', async () => {
    const dir = join(folder, 'half')
    await chmod(folder, 0o711)
    await mkdir(join(dir, 'postgres/cluster/base'), { recursive: true })
    await writeFile(join(dir, 'postgres/cluster/PG_VERSION'), '18\n')
    await (await start('embedded', dir)).stop()
  })

  test('when a later part fails, what was started is stopped again', async () => {
    const dir = join(folder, 'failed')
    const taken = createServer().listen(0, '127.0.0.1')
    await new Promise((done) => taken.once('listening', done))
    const { port } = taken.address() as { port: number }
    const failed = startDevStack({ issuerPort: port, policiesDir, vault: 'embedded', env, dataDir: dir })
    await expect(failed).rejects.toThrow(`port ${port}`)
    taken.close()
    await expect(postmaster(dir)).rejects.toThrow()
  })

  test('without a name is temporary: gone at the end, and after a kill with the next start', async () => {
    const stack = await start('embedded')
    await expect(stat(stack.dataDir)).resolves.toBeDefined()
    await stack.stop()
    await expect(stat(stack.dataDir)).rejects.toThrow()
    const abandoned = await mkdtemp(join(tmpdir(), 'writ-dev-'))
    await writeFile(join(abandoned, 'dev.pid'), '2147483646\n')
    await (await start('embedded')).stop()
    await expect(stat(abandoned)).rejects.toThrow()
  })

  test('policies that do not load are named with file and line, and nothing is started', async () => {
    const bad = join(folder, 'bad')
    await mkdir(bad, { recursive: true })
    await writeFile(join(bad, 'team.yaml'), 'kind: Team\nname: x\nsurprise: 1\n')
    const refused = startDevStack({ issuerPort: 0, policiesDir: bad, vault: 'embedded', env })
    await expect(refused).rejects.toThrow(/team\.yaml:\d+:\d+/)
    await expect(startDevStack({ issuerPort: 0, policiesDir, vault: 'bao', env: { PATH: '' } })).rejects.toThrow('PATH')
    const noToken = { url: 'http://127.0.0.1:1', token: undefined }
    await expect(start(noToken)).rejects.toBeInstanceOf(StackRefused)
    await expect(start({ ...noToken, token: 'x' })).rejects.toThrow('cannot be reached')
  })
})
