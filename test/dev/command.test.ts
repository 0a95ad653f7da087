import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { decodeJwt } from 'jose'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { baoAvailable } from '../support/bao.ts'
import { ended, eventually } from '../support/child.ts'

const run = promisify(execFile)
const bin = resolve(import.meta.dirname, '../../bin/writ.js')
const root = resolve(import.meta.dirname, '../..')

interface Ready {
  readonly url: string
  readonly issuer: string
  readonly vault: { readonly address: string; readonly token: string; readonly kind: string }
  readonly postgres: { readonly url: string }
  readonly ledger: { readonly dir: string; readonly vkey: string }
  readonly data: string
}

describe('writ dev', () => {
  let folder: string
  const children: ChildProcess[] = []

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'writ-dev-test-'))
    await chmod(folder, 0o711)
  })
  afterEach(async () => {
    for (const child of children.splice(0)) {
      child.kill('SIGKILL')
      await ended(child)
    }
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  let count = 0
  const dev = async (
    ...more: string[]
  ): Promise<{ child: ChildProcess; ready: Ready; readyFile: string; output: () => string }> => {
    const readyFile = join(folder, `ready-${++count}.json`)
    const args = [
      bin,
      'dev',
      '--port',
      '0',
      '--data',
      join(folder, `data-${count}`),
      '--ready-file',
      readyFile,
      ...more,
    ]
    // Its own temporary folder, so that what it leaves there can be seen.
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    children.push(child)
    let text = ''
    child.stdout?.on('data', (chunk) => (text += chunk))
    child.stderr?.on('data', (chunk) => (text += chunk))
    const ready = await eventually(
      async () => {
        if (child.exitCode !== null) return 'ended'
        return JSON.parse(await readFile(readyFile, 'utf8')) as Ready
      },
      'the ready file is written',
      60_000,
    )
    if (ready === 'ended') throw new Error(`writ dev ended: ${text}`)
    return { child, ready, readyFile, output: () => text }
  }
  const writ = (...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> =>
    run(process.execPath, [bin, ...args], { cwd: root }).then(
      (done) => ({ status: 0, ...done }),
      (error: { code: number; stdout: string; stderr: string }) => ({ ...error, status: error.code }),
    )
  const answers = (address: string): Promise<boolean> =>
    fetch(address).then(
      async (response) => {
        await response.arrayBuffer()
        return true
      },
      () => false,
    )
  const postmaster = async (ready: Ready): Promise<number> =>
    Number((await readFile(join(ready.data, 'postgres/cluster/postmaster.pid'), 'utf8')).split('\n')[0])
  /** Processes whose command line names the data folder: PostgreSQL, and the guard that watches over it. */
  const left = async (ready: Ready): Promise<string[]> => {
    const { stdout } = await run('ps', ['-eo', 'pid=,stat=,args='])
    return stdout.split('\n').filter((line) => line.includes(`${ready.data}/`) && !/^\s*\d+\s+Z/.test(line))
  }
  const nothingLeft = (ready: Ready): Promise<true> =>
    eventually(async () => ((await left(ready)).length === 0 ? true : undefined), 'no process is left')

  test('says where everything is, exactly as the contract has it, and to its owner alone', async () => {
    const { child, ready, readyFile, output } = await dev('--json')
    expect((await stat(readyFile)).mode & 0o777).toBe(0o600)
    expect(Object.keys(ready)).toEqual(['url', 'issuer', 'vault', 'postgres', 'ledger', 'data'])
    expect(Object.keys(ready.vault)).toEqual(['address', 'token', 'kind'])
    expect(ready.vault.kind).toBe('embedded')
    expect(Object.keys(ready.ledger)).toEqual(['dir', 'vkey'])
    for (const url of [ready.url, ready.issuer, ready.vault.address]) expect(new URL(url).hostname).toBe('127.0.0.1')
    const json = await eventually(
      async () =>
        output()
          .split('\n')
          .find((line) => line.startsWith('{')),
      'the JSON line',
    )
    expect(JSON.parse(json)).toEqual(ready)
    expect((await readdir(folder)).filter((name) => name.endsWith('.part'))).toEqual([])

    const { stdout: token } = await writ('dev', 'token', '--as', 'checkout', '--ready-file', readyFile, '--ttl', '1m')
    const response = await fetch(`${ready.url}/v1/credentials`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token.trim()}`, 'content-type': 'application/json' },
      body: '{"purpose":"read-orders"}',
    })
    expect(response.status).toBe(201)
    const { secret } = (await response.json()) as { secret: { username: string; password: string } }
    const url = new URL(ready.postgres.url)
    url.username = secret.username
    url.password = secret.password
    const client = new pg.Client({ connectionString: url.href })
    await client.connect()
    expect((await client.query('SELECT count(*)::int AS n FROM orders')).rows[0].n).toBeGreaterThan(0)
    await client.end()

    child.kill('SIGINT')
    await ended(child)
    expect(child.exitCode).toBe(0)
    await nothingLeft(ready)
    await expect(stat(readyFile)).rejects.toThrow()
  })

  test('killed with SIGKILL, it leaves no process behind, and the same folder starts again', async () => {
    const { child, ready, readyFile } = await dev()
    const pid = await postmaster(ready)
    expect((await left(ready)).length).toBeGreaterThan(0)
    child.kill('SIGKILL')
    await ended(child)
    await nothingLeft(ready)
    expect(() => process.kill(pid, 0)).toThrow()
    await rm(readyFile)
    count--
    const again = await dev()
    expect(again.ready.data).toBe(ready.data)
    expect(await answers(`${again.ready.url}/healthz`)).toBe(true)
    expect(again.ready.ledger.vkey).toBe(ready.ledger.vkey)
  })

  test.skipIf(!baoAvailable())('needs bao: killed with SIGKILL, it takes the real Vault with it', async () => {
    const { child, ready } = await dev('--vault', 'bao')
    expect(['openbao', 'vault']).toContain(ready.vault.kind)
    expect(await answers(`${ready.vault.address}/v1/sys/health`)).toBe(true)
    child.kill('SIGKILL')
    await ended(child)
    await nothingLeft(ready)
    await eventually(
      async () => ((await answers(`${ready.vault.address}/v1/sys/health`)) ? undefined : true),
      'the Vault is gone',
    )
  })

  test('gives tokens for people and for claims nobody declared, and explains what it cannot', async () => {
    const { ready } = await dev()
    const at = ['--issuer', ready.issuer]
    const person = await writ('dev', 'token', '--as', 'alice@payments', ...at, '--json')
    expect(decodeJwt(JSON.parse(person.stdout).token).sub).toBe('alice@payments')
    const free = await writ(
      'dev',
      'token',
      '--claim',
      'iss=https://x.example',
      '--claim',
      'n={"a":1}',
      '--claim',
      'exp=7',
      ...at,
    )
    expect(decodeJwt(free.stdout)).toMatchObject({ iss: 'https://x.example', n: { a: 1 }, exp: 7 })
    expect(await writ('dev', 'token', '--as', 'chekout', ...at)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('did you mean checkout?'),
    })
    expect((await writ('dev', 'token', ...at)).status).toBe(2)
    expect((await writ('dev', 'token', '--as', 'checkout', '--ttl', 'soon', ...at)).status).toBe(2)
    expect((await writ('dev', 'token', '--as', 'checkout', '--claim', 'x', ...at)).status).toBe(2)
    expect(await writ('dev', 'token', '--as', 'checkout', '--issuer', 'http://127.0.0.1:1')).toMatchObject({
      status: 5,
      stderr: expect.stringContaining('no development issuer answers'),
    })
  })

  test('refuses NODE_ENV=production, a port that is taken, and options that make no sense, and leaves nothing', async () => {
    const attempt = async (args: readonly string[], env: NodeJS.ProcessEnv = process.env) => {
      const child = spawn(process.execPath, [bin, 'dev', ...args], {
        cwd: root,
        env,
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      children.push(child)
      let stderr = ''
      child.stderr?.on('data', (chunk) => (stderr += chunk))
      await ended(child)
      return { status: child.exitCode, stderr }
    }
    expect(await attempt(['--port', '0'], { ...process.env, NODE_ENV: 'production' })).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('does not run in production'),
    })
    expect((await attempt(['--port', 'many'])).status).toBe(2)
    expect((await attempt(['--vault', 'nowhere'])).status).toBe(2)
    expect((await attempt(['--policies', join(folder, 'none')])).status).toBe(1)
    const taken = createServer().listen(0, '127.0.0.1')
    await new Promise((done) => taken.once('listening', done))
    const { port } = taken.address() as { port: number }
    const data = join(folder, 'taken')
    const refused = await attempt(['--port', String(port), '--data', data])
    taken.close()
    // The one after it, where the issuer would listen, may be somebody's too, and is tried first.
    const named = new RegExp(`port (?:${port}|${port + 1})|:${port}\\b`)
    expect(refused).toMatchObject({ status: 1, stderr: expect.stringMatching(named) })
    const { stdout } = await run('ps', ['-eo', 'args='])
    expect(stdout).not.toContain(data)
  })
})
