import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { ended } from '../support/child.ts'

/** A server in a process of its own. */
export interface Child {
  readonly url: string
  /** From the start of the process to the line that says it listens. */
  readonly readyMs: number
  /** Resident memory now, MiB. */
  rssMb(): number
  /** Processor time of all its threads so far, milliseconds; not a number where the system does not tell. */
  cpuMs(): number
  stop(): Promise<void>
}

export interface ServeOptions {
  /** Holds policies, ledger and configuration. */
  readonly dir: string
  readonly vaultAddress: string
  readonly vaultToken: string
  /** Where V8 writes a CPU profile when the process ends. */
  readonly profileDir?: string | undefined
}

export const newFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'writ-bench-'))
export const removeFolder = (dir: string): Promise<void> => rm(dir, { recursive: true, force: true })

export const policiesIn = (dir: string): string => join(dir, 'policies')
export const ledgerIn = (dir: string): string => join(dir, 'ledger')
export const ledgerKeyIn = (dir: string): string => join(dir, 'ledger.key')
/** Name of the log in its checkpoints. */
export const origin = 'bench.example/ledger'

/** `writ serve` with its defaults over the folder, its log written to a file as a service manager would. */
export async function startServe(options: ServeOptions): Promise<Child> {
  const { dir, vaultAddress, vaultToken, profileDir } = options
  const config = join(dir, 'writ.yaml')
  await writeFile(
    config,
    `url: https://writ.example.com
listen: { port: 0 }
policies: ${policiesIn(dir)}
vault: { address: "${vaultAddress}", auth: { method: token } }
ledger: { dir: ${ledgerIn(dir)}, origin: ${origin}, keyFile: ${ledgerKeyIn(dir)} }
`,
  )
  const profile = profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`]
  const program = fileURLToPath(new URL('../../bin/writ.js', import.meta.url))
  return startChild([...profile, program, 'serve', '--config', config], join(dir, 'serve.log'), {
    VAULT_TOKEN: vaultToken,
  })
}

/** Runs Node until it prints a line with the URL it listens on. */
export async function startChild(
  command: readonly string[],
  logFile: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Child> {
  const { VAULT_ADDR: _a, VAULT_TOKEN: _t, VAULT_NAMESPACE: _n, ...inherited } = process.env
  const log = openSync(logFile, 'a')
  const startedMs = performance.now()
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', log], env: { ...inherited, ...env } })
  closeSync(log)
  // The bench ends on every error; its children must not stay behind.
  const kill = (): void => void child.kill('SIGKILL')
  process.once('exit', kill)
  const url = await firstUrl(child, logFile)
  return {
    url,
    readyMs: performance.now() - startedMs,
    rssMb: () => Number(spawnSync('ps', ['-o', 'rss=', '-p', String(child.pid)], { encoding: 'utf8' }).stdout) / 1024,
    cpuMs: () => cpuMsOf(child.pid ?? 0),
    async stop() {
      child.kill('SIGTERM')
      await ended(child)
      process.off('exit', kill)
    },
  }
}

function firstUrl(child: ChildProcess, logFile: string): Promise<string> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) throw new Error('no output to read')
    child.once('exit', () => {
      reject(new Error(`the server ended before it listened:\n${readFileSync(logFile, 'utf8').slice(-2000)}`))
    })
    createInterface({ input: child.stdout }).on('line', (line) => {
      const said: unknown = JSON.parse(line)
      if (typeof said === 'object' && said !== null && 'url' in said) resolve(String(said.url))
    })
  })
}

/** From proc(5): user and system time are fields 14 and 15, in ticks of 10 ms. The name before them may hold anything. */
function cpuMsOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * 10
  } catch {
    return Number.NaN
  }
}
