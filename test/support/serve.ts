import { spawn } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import type { DevStack } from '../../src/dev/stack.ts'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import { guard } from './child.ts'

const bin = fileURLToPath(new URL('../../bin/writ.js', import.meta.url))
const origin = 'writ.example.com/ledger'

/** A folder with everything `writ serve` is given in production: `writ.yaml`, policies, a Vault token and what it will write. */
export interface ServeFolder {
  readonly dir: string
  readonly config: string
  readonly policies: string
  readonly ledger: string
  /** The verifier key, once the broker has made its key. */
  vkey(): Promise<string>
  close(): Promise<void>
}

type Settings = { readonly [key: string]: string | number | Settings }

/**
 * Writes that folder over a stack. The issuers' keys are in a file, as an operator without a network path to them would have
 * it: the process has nothing of the development stack in it.
 */
export async function serveFolder(stack: DevStack, policiesDir: string, over: Settings = {}): Promise<ServeFolder> {
  const dir = await mkdtemp(join(tmpdir(), 'writ-serve-'))
  const at = (name: string): string => join(dir, name)
  await cp(policiesDir, at('policies'), { recursive: true })
  await writeFile(at('jwks.json'), await (await fetch(stack.issuer.jwksUrl)).text())
  for (const name of await readdir(at('policies/issuers'))) {
    const file = at(`policies/issuers/${name}`)
    const text = await readFile(file, 'utf8')
    await writeFile(file, text.replace('{ discovery: true }', `{ jwks_file: ${at('jwks.json')} }`))
  }
  await writeFile(at('vault-token'), stack.vault.brokerToken.reveal(), { mode: 0o600 })
  const config: Settings = {
    url: 'https://writ.example.com',
    listen: { host: '127.0.0.1', port: 0 },
    policies: './policies',
    vault: { address: stack.vault.address, auth: { method: 'token', tokenFile: './vault-token' } },
    ledger: { dir: './data/ledger', keyFile: './data/ledger.key', origin },
    ...over,
  }
  await writeFile(at('writ.yaml'), stringify(config))
  return {
    dir,
    config: at('writ.yaml'),
    policies: at('policies'),
    ledger: at('data/ledger'),
    vkey: async () => (await openLedgerKey({ file: at('data/ledger.key'), origin, create: false })).vkey,
    close: () => rm(dir, { recursive: true, force: true }),
  }
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A process of ours, with everything it has written so far. */
export interface WritProcess {
  readonly pid: number
  stdout(): string
  stderr(): string
  signal(name: NodeJS.Signals): void
  readonly exited: Promise<Exit>
}

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly input?: string
  /** No file may grow beyond this many KiB: writes fail as on a full disk, with `EFBIG`. */
  readonly mostFileKiB?: number
}

/** Runs the real bin with the pinned Node. It ends with this process, and sees nothing of its environment but `PATH`. */
export function spawnWrit(args: readonly string[], options: SpawnOptions = {}): WritProcess {
  const { env, cwd, input = '', mostFileKiB } = options
  const command = [process.execPath, bin, ...args]
  // `exec` keeps the process id. POSIX counts in blocks of 512 bytes, and the signal must not end the process for us.
  const limited = ['-c', `trap '' XFSZ; ulimit -f ${(mostFileKiB ?? 0) * 2}; exec "$@"`, 'sh', ...command]
  const [file = '', ...rest] = mostFileKiB === undefined ? command : ['sh', ...limited]
  const child = spawn(file, rest, {
    stdio: 'pipe',
    env: { PATH: process.env.PATH ?? '', ...env },
    ...(cwd === undefined ? {} : { cwd }),
  })
  const pid = child.pid
  if (pid === undefined) throw new Error('the process could not be started')
  const release = guard(pid, 'KILL')
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const exited = new Promise<Exit>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      release()
      resolve({ code, signal, stdout, stderr })
    })
  })
  return { pid, stdout: () => stdout, stderr: () => stderr, signal: (name) => void child.kill(name), exited }
}

/** Runs the bin to its end. */
export const runWrit = (...given: Parameters<typeof spawnWrit>): Promise<Exit> => spawnWrit(...given).exited

/** `writ serve` that listens. */
export interface Serving extends WritProcess {
  readonly url: string
}

/** Starts `writ serve` and waits until it listens. @throws Error with what it wrote, when it ends before that. */
export async function startServe(folder: ServeFolder, options: SpawnOptions = {}): Promise<Serving> {
  const process = spawnWrit(['serve', '--config', folder.config], { cwd: folder.dir, ...options })
  const ended = process.exited.then(({ code, stderr }) => {
    throw new Error(`writ serve ended with ${code}: ${stderr}`)
  })
  // Whoever waits for `exited` sees the end; this one only matters until it listens.
  ended.catch(() => {})
  const url = await Promise.race([ended, listening(process)])
  return { ...process, url }
}

async function listening(process: WritProcess): Promise<string> {
  for (;;) {
    const line = process.stdout().split('\n', 1)[0] ?? ''
    if (process.stdout().includes('\n')) return (JSON.parse(line) as { url: string }).url
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
