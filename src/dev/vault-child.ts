import { randomBytes } from 'node:crypto'
import { accessSync, constants } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { startGuarded } from './child.ts'

/** A Vault for the development stack. */
export interface StackVault {
  readonly address: string
  /** May do everything. */
  readonly token: string
  readonly kind: 'embedded' | 'openbao' | 'vault'
  stop(): Promise<void>
}

/** A real server could not be started; the message says why. */
export class VaultChildUnavailable extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'VaultChildUnavailable'
  }
}

function onPath(name: string, path: string): string | undefined {
  for (const folder of path.split(delimiter)) {
    const candidate = join(folder || '.', name)
    try {
      accessSync(candidate, constants.X_OK)
      return candidate
    } catch {}
  }
  return undefined
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done, fail) => server.once('error', fail).listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  await new Promise<void>((done) => server.close(() => done()))
  return port
}

async function isUp(address: string): Promise<boolean> {
  try {
    const answer = await fetch(`${address}/v1/sys/health`, { signal: AbortSignal.timeout(1000) })
    await answer.arrayBuffer()
    return answer.status === 200
  } catch {
    return false
  }
}

/**
 * Starts the `bao` (or else `vault`) that is on PATH in its own development mode: in memory, unsealed, on loopback.
 * It ends with this process, however this process ends.
 * @throws VaultChildUnavailable
 */
export async function startVaultChild(options: {
  dataDir: string
  env: Readonly<Record<string, string>>
}): Promise<StackVault> {
  const path = options.env.PATH ?? ''
  const bao = onPath('bao', path)
  const program = bao ?? onPath('vault', path)
  if (program === undefined) {
    throw new VaultChildUnavailable('neither bao nor vault is on PATH; leave --vault out to use the embedded server')
  }
  const home = join(options.dataDir, 'vault')
  await mkdir(home, { recursive: true, mode: 0o700 })
  const logFile = join(home, 'vault.log')
  // Another process may take the port between looking and listening, so a few are tried.
  for (let attempt = 0; attempt < 3; attempt++) {
    const token = `dev-${randomBytes(16).toString('hex')}`
    const port = await freePort()
    const address = `http://127.0.0.1:${port}`
    // By environment and not by option: options can be read by every user of the machine.
    const env = { PATH: path, HOME: home, VAULT_DEV_ROOT_TOKEN_ID: token, BAO_DEV_ROOT_TOKEN_ID: token }
    const command = [program, 'server', '-dev', '-dev-no-store-token', `-dev-listen-address=127.0.0.1:${port}`]
    const child = startGuarded(command, { logFile, signal: 'TERM', env })
    let ended = false
    void child.ended.then(() => {
      ended = true
    })
    const deadline = Date.now() + 20_000
    while (!ended && Date.now() < deadline) {
      if (await isUp(address)) {
        return { address, token, kind: bao === undefined ? 'vault' : 'openbao', stop: () => child.stop() }
      }
      await new Promise((done) => setTimeout(done, 50))
    }
    await child.stop()
  }
  throw new VaultChildUnavailable(`${program} did not start; its messages are in ${logFile}`)
}
