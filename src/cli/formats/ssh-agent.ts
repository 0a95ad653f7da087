import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { CredentialRequest, IssuedCredential } from '../../contract/credential.ts'
import { CommandError, exit, type Io, UsageError } from '../command.ts'
import { printable } from '../terminal.ts'
import type { Destination } from './destination.ts'
import { formatOptions, lineOf } from './format.ts'
import { refuseUnfit } from './table.ts'

export const agentOptions = { identity: { type: 'string' } } as const

/** The request with the public key beside `--identity` to sign, unless another was given. @throws CommandError */
export function agentRequest<V extends { identity?: string | undefined; param?: string[] | undefined }>(values: V): V {
  const { identity, param = [] } = values
  if (identity === undefined) throw new UsageError('--format ssh-agent needs --identity')
  if (param.some((pair) => pair.startsWith('public_key='))) return values
  try {
    const key = readFileSync(`${identity}.pub`, 'utf8').trim()
    return { ...values, param: [...param, `public_key=${key}`] }
  } catch (cause) {
    const fix = `make it with ssh-keygen -y, or give --param public_key=@FILE`
    throw new CommandError(exit.usage, `the file ${printable(identity)}.pub cannot be read`, fix, { cause })
  }
}

interface AgentValues {
  readonly identity?: string | undefined
  readonly out?: string | undefined
  readonly [name: string]: unknown
}

/**
 * The agent that `SSH_AUTH_SOCK` names. `ssh-add` reads the private key and asks for its passphrase; this process never sees either.
 * @throws CommandError when there is no agent, or it holds the key already: `ssh-add` would let it end with the certificate
 */
export async function openAgent(values: AgentValues, request: CredentialRequest, io: Io): Promise<Destination> {
  const unwanted = ['out', ...Object.keys(formatOptions)].find((option) => values[option] !== undefined)
  if (unwanted !== undefined) throw new UsageError(`--${unwanted} does not go with --format ssh-agent`)
  refuseUnfit(request, '--format', { name: 'ssh-agent' })
  const key = request.params?.public_key?.trim() ?? ''
  if (holds(await sshAdd(['-L'], io), key)) {
    throw new CommandError(
      exit.usage,
      'the agent holds this key already, and would forget it together with the certificate',
      'keep it there and write the certificate to a file: --format raw:signed_key --out FILE, then ssh -o CertificateFile=FILE',
    )
  }
  return {
    async deliver(issued) {
      if ('credentials' in issued) throw new UsageError('ssh-agent holds one credential')
      await load(issued, resolve(values.identity ?? ''), key, io)
    },
    close: async () => {},
  }
}

/** `ssh-add` looks for a certificate beside the key, so both go under one name into a folder of their own. */
async function load(issued: IssuedCredential, identity: string, key: string, io: Io): Promise<void> {
  const certificate = lineOf({ ...issued, secret: trimmed(issued) }, 'ssh-agent', 'signed_key')
  // Times of the broker are compared with each other only: the clock here may be wrong.
  const seconds = Math.floor((Date.parse(issued.expires_at ?? '') - Date.parse(issued.issued_at)) / 1_000)
  if (!(seconds > 0)) throw new CommandError(exit.fault, 'the certificate has no life left')
  const folder = mkdtempSync(join(tmpdir(), 'writ-ssh-'))
  try {
    symlinkSync(identity, join(folder, 'key'))
    writeFileSync(join(folder, 'key-cert.pub'), `${certificate}\n`)
    writeFileSync(join(folder, 'plain.pub'), `${key}\n`)
    const added = await sshAdd(['-t', String(seconds), join(folder, 'key')], io)
    // Without its certificate the key opens nothing that was asked for.
    await sshAdd(['-k', '-d', join(folder, 'plain.pub')], io)
    if (!holds(await sshAdd(['-L'], io), certificate)) {
      throw new CommandError(exit.fault, `ssh-add did not add the certificate: ${printable(added.stderr.trim())}`)
    }
    io.stderr(`writ: the agent holds the certificate for ${seconds} seconds\n`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

// Vault ends the line; a break within it would begin another.
const trimmed = ({ secret }: IssuedCredential): Record<string, unknown> => {
  const key = secret.signed_key
  return typeof key === 'string' ? { ...secret, signed_key: key.trim() } : secret
}

/** Whether the list has that line; comments do not count. */
function holds({ stdout }: Ran, line: string): boolean {
  const [type, blob] = line.split(' ')
  return blob !== undefined && stdout.split('\n').some((listed) => listed.startsWith(`${type} ${blob}`))
}

interface Ran {
  readonly stdout: string
  readonly stderr: string
}

/** Its own standard input is ours: without a terminal there it does not ask for a passphrase. @throws CommandError without an agent */
function sshAdd(args: readonly string[], io: Io): Promise<Ran> {
  return new Promise((settle, reject) => {
    const child = spawn('ssh-add', args, { stdio: ['inherit', 'pipe', 'pipe'], env: io.environment.child() })
    const seen = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (chunk: string) => {
        seen[name] += chunk
      })
    }
    child.on('error', (cause) => {
      reject(new CommandError(exit.fault, 'ssh-add cannot be run', 'install OpenSSH', { cause }))
    })
    child.on('close', (code) => {
      if (code !== 2) return settle(seen)
      reject(new CommandError(exit.fault, 'there is no ssh-agent', 'start one: eval "$(ssh-agent)"'))
    })
  })
}
