import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ended as childEnded, eventually, guard } from '../../support/child.ts'
import { onPath, type Ran, runProgram } from '../../support/program.ts'
import { type Exit, runWrit } from '../../support/serve.ts'
import { ended, grantId, issued, type ScriptedBroker, type Seen, scriptedBroker } from '../scripted-broker.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-formats-ssh-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)
const makeKey = (name: string): void => {
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(name)])
}
const issue = 'POST /v1/credentials'
const revoke = `POST /v1/grants/${grantId}/revoke`

describe.skipIf(!onPath('ssh-agent', 'ssh-add', 'ssh-keygen'))('needs ssh-agent and ssh-add on PATH: ssh-agent', () => {
  if (!existsSync(at('ca'))) for (const name of ['ca', 'key', 'other']) makeKey(name)
  let broker: ScriptedBroker
  let stop: () => Promise<void>
  let socket: string
  let turn = 0

  beforeEach(async () => {
    turn += 1
    socket = at(`agent-${turn}`)
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' })
    const release = guard(agent.pid ?? 0)
    stop = async () => {
      agent.kill('SIGTERM')
      await childEnded(agent)
      release()
    }
    await eventually(async () => existsSync(socket) || undefined, 'the agent listens')
  })
  afterEach(async () => {
    await stop()
    await broker?.close()
  })

  /** Signs what it is sent with a real authority, for that long. */
  const signing = (lifeMs: number) => async (): Promise<ScriptedBroker> =>
    scriptedBroker({
      [issue]: ({ body }: Seen) => {
        writeFileSync(at('sent.pub'), (body as { params: { public_key: string } }).params.public_key)
        const options = ['-q', '-s', at('ca'), '-I', 'writ-1', '-n', 'deploy', '-V', '+5m']
        execFileSync('ssh-keygen', [...options, at('sent.pub')])
        return issued(lifeMs, { secret: { signed_key: readFileSync(at('sent-cert.pub'), 'utf8') } })
      },
      [revoke]: () => ended(),
    })
  const list = (...args: string[]): Promise<Ran> => runProgram('ssh-add', args, { env: { SSH_AUTH_SOCK: socket } })
  const get = (args: string[], env: Record<string, string> = { SSH_AUTH_SOCK: socket }): Promise<Exit> =>
    runWrit(['get', '--purpose', 'deploy', '--format', 'ssh-agent', ...args], {
      env: { WRIT_URL: broker.url, WRIT_TOKEN: 't', ...env },
    })

  it('puts the certificate into the agent, and not the key without it', async () => {
    broker = await signing(60_000)()
    const got = await get(['--identity', at('key')])
    expect(got).toMatchObject({ code: 0, stdout: '' })
    expect(got.stderr).toMatch(/for 60 seconds/)
    expect(broker.requests(issue)[0]?.body).toEqual({
      purpose: 'deploy',
      params: { public_key: readFileSync(at('key.pub'), 'utf8').trim() },
    })
    const { stdout } = await list('-L')
    expect(stdout.trim().split('\n')).toHaveLength(1)
    writeFileSync(at('listed.pub'), stdout)
    const shown = execFileSync('ssh-keygen', ['-L', '-f', at('listed.pub')], { encoding: 'utf8' })
    expect(shown).toContain('Key ID: "writ-1"')
    expect(shown).toMatch(/Principals:\s+deploy\n/)
    // The agent proves that it holds the private key too.
    expect((await list('-T', at('listed.pub'))).code).toBe(0)
    expect((await get(['--identity', at('key')])).code).toBe(0)
  })

  it('has the agent forget it when the grant ends', async () => {
    broker = await signing(2_000)()
    expect((await get(['--identity', at('key')])).code).toBe(0)
    await eventually(async () => ((await list('-l')).code === 1 ? true : undefined), 'the agent is empty')
  })

  it('leaves alone a key that the agent holds already', async () => {
    broker = await signing(60_000)()
    await list(at('key'))
    const got = await get(['--identity', at('key')])
    expect(got).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('CertificateFile') })
    expect(broker.seen).toEqual([])
    expect((await list('-l')).code).toBe(0)
  })

  it('hands back a certificate for another key', async () => {
    broker = await signing(60_000)()
    const got = await get(['--identity', at('key'), '--param', `public_key=@${at('other.pub')}`])
    expect(got).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('did not add') })
    expect(broker.requests(revoke)).toHaveLength(1)
  })

  it.each([
    [['--identity', at('key')], {}, /there is no ssh-agent/],
    [[], undefined, /--identity/],
    [['--identity', at('none')], undefined, /none\.pub cannot be read/],
    [['--identity', at('key'), '--host', 'h'], undefined, /--host/],
    [['--identity', at('key'), '--delivery', 'wrapped'], undefined, /wrapped/],
  ])('says what is missing before it asks for anything: %j', async (args, env, why) => {
    broker = await signing(60_000)()
    const got = await get(args, env)
    expect(got.code).not.toBe(0)
    expect(got.stderr).toMatch(why)
    expect(broker.seen).toEqual([])
  })
})
