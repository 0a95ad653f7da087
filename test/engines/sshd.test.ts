import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import { createEngines } from '../../src/engines/registry.ts'
import { createVaultSession, type VaultSession } from '../../src/engines/vault-session.ts'
import { field, orderFor } from '../contract/engine-world.ts'
import { baoAvailable, startBao } from '../support/bao.ts'
import { eventually, freePort } from '../support/child.ts'
import { strictly, vaultApi } from '../support/vault-api.ts'

// sshd insists on being started by its whole path, and lives where not every PATH looks.
const sshd = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
  .map((folder) => join(folder, 'sshd'))
  .find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
const { username } = userInfo()

describe.skipIf(sshd === undefined || !baoAvailable())('needs sshd, and bao or vault on PATH', () => {
  const stops: (() => Promise<unknown>)[] = []
  let folder: string
  let port: number
  let session: VaultSession
  let log = ''

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'writ-sshd-'))
    stops.push(() => rm(folder, { recursive: true }))
    const bao = await startBao({ mode: 'raft' })
    stops.push(bao.stop)
    const api = strictly(vaultApi(bao.address, bao.rootToken))
    await api('POST', 'sys/mounts/ssh', { type: 'ssh' })
    await api('POST', 'ssh/config/ca', { generate_signing_key: true, key_type: 'ed25519' })
    await api('POST', 'ssh/roles/deploy', {
      key_type: 'ca',
      allow_user_certificates: true,
      allow_user_key_ids: true,
      allowed_users: `${username},nobody`,
      allowed_extensions: 'permit-pty,permit-port-forwarding',
      allowed_critical_options: 'source-address,force-command',
      not_before_duration: '30s',
      ttl: '30m',
      max_ttl: '1h',
    })
    const { body } = await api('GET', 'ssh/config/ca')
    const { public_key: ca } = (body as { data: { public_key: string } }).data
    session = createVaultSession({
      address: bao.address,
      auth: { method: 'token', token: new Secret(bao.rootToken) },
      clock: systemClock,
      log: silentLog,
    })
    await session.start()
    stops.push(session.close)
    for (const key of ['host', 'caller']) run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', join(folder, key))
    await writeFile(join(folder, 'ca.pub'), `${ca.trim()}\n`)
    port = await freePort()
    await writeFile(
      join(folder, 'sshd_config'),
      [
        `ListenAddress 127.0.0.1:${port}`,
        `HostKey ${join(folder, 'host')}`,
        `TrustedUserCAKeys ${join(folder, 'ca.pub')}`,
        `PidFile ${join(folder, 'sshd.pid')}`,
        'AuthorizedKeysFile none',
        'AuthenticationMethods publickey',
        'PasswordAuthentication no',
        'KbdInteractiveAuthentication no',
        'PermitRootLogin yes',
        'StrictModes no',
        'UsePAM no',
        'LogLevel VERBOSE',
      ].join('\n'),
    )
    await chmod(folder, 0o700)
    // Where root starts it, sshd locks itself into this folder, which the system's own start would have made.
    if (username === 'root') await mkdir('/run/sshd', { recursive: true })
    const server = spawn(sshd ?? '', ['-D', '-e', '-f', join(folder, 'sshd_config')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    server.stderr.on('data', (text: Buffer) => {
      log += text.toString()
    })
    const ended = new Promise((resolve) => server.once('exit', resolve))
    stops.push(async () => {
      server.kill()
      await ended
    })
    await logged('Server listening')
  })

  afterAll(async () => {
    for (const stop of stops.reverse()) await stop()
  })

  // What sshd writes is read between calls, since a call to ssh holds everything up.
  const logged = (text: string) => eventually(async () => log.includes(text), `sshd logs ${text}`)

  /** Signs the caller's key and keeps the certificate beside it, where ssh looks for it. */
  async function sign(params: Record<string, string | string[]>, ttlSeconds = 60): Promise<{ expiresAtMs: number }> {
    const publicKey = run('cat', join(folder, 'caller.pub'))
    const engine = createEngines(session, systemClock).get('ssh')
    if (engine === undefined) throw new Error('no engine')
    const target = { engine: 'ssh', mount: 'ssh', role: 'deploy', params: { valid_principals: [username], ...params } }
    const minted = await engine.mint(orderFor(target, { callerParams: { public_key: publicKey }, ttlSeconds }))
    await writeFile(join(folder, 'caller-cert.pub'), field(minted, 'signed_key'))
    return { expiresAtMs: minted.expiresAtMs ?? 0 }
  }

  function ssh(...command: string[]): { status: number | null; stdout: string; stderr: string } {
    const options = ['BatchMode=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'IdentitiesOnly=yes']
    const { status, stdout, stderr } = spawnSync(
      'ssh',
      [
        ...options.flatMap((option) => ['-o', option]),
        ...['-F', 'none', '-p', String(port), '-i', join(folder, 'caller'), `${username}@127.0.0.1`],
        ...command,
      ],
      { encoding: 'utf8', timeout: 20_000, env: { PATH: process.env.PATH } },
    )
    return { status, stdout, stderr }
  }

  test('opens a session, whose log names the grant; without the certificate, or for another principal, nothing opens', async () => {
    await sign({})
    expect(ssh('echo', 'in')).toMatchObject({ status: 0, stdout: 'in\n' })
    const { names } = orderFor({ engine: 'ssh' }, {})
    await logged(`ID writ:checkout:${names.grant}`)
    await sign({ valid_principals: ['nobody'] })
    expect(ssh('echo', 'in').status).toBe(255)
    await rm(join(folder, 'caller-cert.pub'))
    expect(ssh('echo', 'in').status).toBe(255)
  })

  test('critical options and extensions hold: another source address, a forced command, a terminal that was not given', async () => {
    await sign({ critical_options: ['source-address=192.0.2.0/24'] })
    expect(ssh('echo', 'in').status).toBe(255)
    await sign({ critical_options: ['source-address=127.0.0.0/8', 'force-command=echo forced'] })
    expect(ssh('echo', 'in')).toMatchObject({ status: 0, stdout: 'forced\n' })
    await sign({ extensions: ['permit-pty'] })
    expect(ssh('-tt', 'tty').stdout).toContain('/dev/')
    await sign({ extensions: ['permit-port-forwarding'] })
    expect(ssh('-tt', 'tty').stderr).toContain('PTY allocation request failed')
  })

  test('sshd refuses the certificate once the grant has ended', async () => {
    const { expiresAtMs } = await sign({}, 3)
    expect(ssh('echo', 'in').status).toBe(0)
    await eventually(async () => Date.now() > expiresAtMs && ssh('echo', 'in').status === 255, 'sshd refuses', 15_000)
    await logged('Certificate invalid: expired')
  })
})

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command}: ${stderr}`)
  return stdout
}
