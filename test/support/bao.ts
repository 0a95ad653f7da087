import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ended, eventually, freePort, guard } from './child.ts'
import { vaultApi } from './vault-api.ts'

/** A real OpenBao or Vault of its own. */
export interface TestBao {
  readonly address: string
  readonly rootToken: string
  readonly unsealKey: string | undefined
  /** File the audit device writes to, in raft mode. */
  readonly auditLog: string | undefined
  readonly pid: number
  /** Kills it, without a word to it, and starts it again over the same storage; of use on raft alone. */
  crash(): Promise<void>
  stop(): Promise<void>
}

const program = ['bao', 'vault'].find((name) => spawnSync(name, ['version'], { stdio: 'ignore' }).status === 0)

/** Whether a real server can be run here: `bao` on PATH, or else `vault`. */
export const baoAvailable = (): boolean => program !== undefined

/**
 * Starts a server on free ports of 127.0.0.1: `dev` in memory, or `raft` on raft storage with a file audit device, as in
 * production. It is unsealed when this resolves, ends with this process, and its folder is removed on `stop`.
 */
export async function startBao({ mode }: { readonly mode: 'dev' | 'raft' }): Promise<TestBao> {
  if (program === undefined) throw new Error('neither bao nor vault is on PATH')
  const folder = await mkdtemp(join(tmpdir(), 'writ-bao-'))
  for (let tries = 1; ; tries += 1) {
    try {
      return await (mode === 'dev' ? startDev(program, folder) : startRaft(program, folder, tries))
    } catch (error) {
      // The free port may have been taken meanwhile.
      if (tries === 3) {
        await rm(folder, { recursive: true, force: true })
        throw error
      }
    }
  }
}

async function startDev(name: string, folder: string): Promise<TestBao> {
  const port = await freePort()
  const rootToken = 'test-root'
  const server = run(name, folder, [
    '-dev',
    '-dev-no-store-token',
    `-dev-root-token-id=${rootToken}`,
    `-dev-listen-address=127.0.0.1:${port}`,
  ])
  const address = `http://127.0.0.1:${port}`
  await answering(server, address)
  const crash = async () => {
    throw new Error('what is in memory is gone after a crash')
  }
  return { address, rootToken, unsealKey: undefined, auditLog: undefined, pid: server.pid, crash, stop: server.stop }
}

async function startRaft(name: string, folder: string, tries: number): Promise<TestBao> {
  const [port, clusterPort] = [await freePort(), await freePort()]
  const address = `http://127.0.0.1:${port}`
  const data = join(folder, `raft-${tries}`)
  const auditLog = join(folder, 'audit.log')
  await mkdir(data, { recursive: true })
  const config = join(folder, 'config.hcl')
  // OpenBao takes audit devices from its configuration alone; Vault from its API alone.
  const audit = name === 'bao' ? `audit "file" "file" {\n  options {\n    file_path = "${auditLog}"\n  }\n}\n` : ''
  await writeFile(
    config,
    // The least multiplier: a lone node need not wait five seconds to elect itself.
    `storage "raft" {\n  path = "${data}"\n  node_id = "test"\n  performance_multiplier = 1\n}\n` +
      `listener "tcp" {\n  address = "127.0.0.1:${port}"\n  cluster_address = "127.0.0.1:${clusterPort}"\n  tls_disable = true\n}\n` +
      `api_addr = "${address}"\ncluster_addr = "https://127.0.0.1:${clusterPort}"\n` +
      `${name === 'vault' ? 'disable_mlock = true\n' : ''}${audit}`,
  )
  const start = async (): Promise<Running> => {
    const started = run(name, folder, [`-config=${config}`])
    await answering(started, address)
    return started
  }
  let server = await start()
  const open = vaultApi(address, '')
  const init = await open('PUT', 'sys/init', { secret_shares: 1, secret_threshold: 1 })
  const { root_token: rootToken, keys } = init.body as { root_token: string; keys: string[] }
  const unsealKey = keys[0] ?? ''
  const unseal = async (): Promise<void> => {
    await open('PUT', 'sys/unseal', { key: unsealKey })
    await eventually(
      async () => ((await open('GET', 'sys/health')).status === 200 ? true : undefined),
      'the node leads',
    )
  }
  await unseal()
  if (name === 'vault') {
    await vaultApi(address, rootToken)('PUT', 'sys/audit/file', { type: 'file', options: { file_path: auditLog } })
  }
  return {
    address,
    rootToken,
    unsealKey,
    auditLog,
    get pid() {
      return server.pid
    },
    async crash() {
      await server.kill()
      server = await start()
      await unseal()
    },
    stop: () => server.stop(),
  }
}

interface Running {
  readonly child: ChildProcess
  readonly pid: number
  kill(): Promise<void>
  stop(): Promise<void>
}

function run(name: string, folder: string, options: readonly string[]): Running {
  const { VAULT_ADDR: _a, BAO_ADDR: _b, VAULT_TOKEN: _c, BAO_TOKEN: _d, ...rest } = process.env
  const env = { ...rest, HOME: folder }
  const child = spawn(name, ['server', ...options], { stdio: 'ignore', cwd: folder, env })
  const release = child.pid === undefined ? () => {} : guard(child.pid, 'KILL', folder)
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended(child)
    release()
  }
  return {
    child,
    pid: child.pid ?? 0,
    kill,
    async stop() {
      await kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function answering(server: Running, address: string): Promise<void> {
  const up = async (): Promise<true | undefined> => {
    if (server.child.exitCode !== null) return true
    await fetch(`${address}/v1/sys/health`)
    return true
  }
  await eventually(up, 'the server answers')
  if (server.child.exitCode !== null) throw new Error(`the server ended with ${server.child.exitCode}`)
}
