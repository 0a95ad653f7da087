import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { eventually } from '../support/child.ts'
import { runProgram } from '../support/program.ts'
import { type Exit, spawnWrit, type WritProcess } from '../support/serve.ts'
import { ended, grantId, issued, ok, password, type ScriptedBroker, scriptedBroker } from './scripted-broker.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-handover-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const issue = 'POST /v1/credentials'
const renew = `POST /v1/grants/${grantId}/renew`
const revoke = `POST /v1/grants/${grantId}/revoke`

let broker: ScriptedBroker
const running: WritProcess[] = []
afterEach(async () => {
  for (const writ of running.splice(0)) {
    writ.signal('SIGKILL')
    await writ.exited
  }
  await broker.close()
})

async function start(options: readonly string[], command: readonly string[], env = {}): Promise<WritProcess> {
  broker = await scriptedBroker({
    [issue]: () => issued(),
    [renew]: () => ok({ grant: grantId, expires_at: new Date(Date.now() + 60_000).toISOString(), ttl_capped_by: [] }),
    [revoke]: () => ended(),
  })
  const args = ['exec', '--purpose', 'read-orders', ...options, '--', ...command]
  const writ = spawnWrit(args, { env: { WRIT_URL: broker.url, WRIT_TOKEN: 't', ...env } })
  running.push(writ)
  return writ
}
const run = async (...given: Parameters<typeof start>): Promise<Exit> => (await start(...given)).exited
const sh = (script: string): string[] => ['sh', '-c', script]

describe('writ exec --fd', () => {
  it('lets the command read the secret once from that descriptor, and from nowhere else', async () => {
    const exit = await run(
      ['--fd', '3=raw:password', '--fd', '7=raw:username'],
      sh('cat <&3; cat <&3; echo; cat <&7; echo; env'),
    )
    expect(exit).toMatchObject({ code: 0, stderr: '' })
    const [first, second, ...environment] = exit.stdout.split('\n')
    expect([first, second]).toEqual([password, 'v-checkout-1'])
    expect(environment.join('\n')).not.toContain(password)
    expect(environment.join('\n')).toContain(`WRIT_GRANT=${grantId}`)
    expect(broker.requests(revoke)).toHaveLength(1)
  })

  it('is the whole answer where no format is named, and can be opened by path; the file has no name any more', async () => {
    const exit = await run(['--fd', '4'], sh('cat /dev/fd/4; readlink /proc/self/fd/4'))
    const [answer = '', name = ''] = exit.stdout.split('\n')
    expect(JSON.parse(answer)).toMatchObject({ grant: grantId, secret: { password } })
    expect(name).toMatch(/\(deleted\)$/)
    expect(existsSync(dirname(name))).toBe(false)
  })

  it('holds more than a pipe would', async () => {
    broker = await scriptedBroker({
      [issue]: () => issued(60_000, { secret: { blob: 'x'.repeat(300_000) } }),
      [revoke]: () => ended(),
    })
    const args = ['exec', '--purpose', 'p', '--fd', '3=raw:blob', '--', 'sh', '-c', 'wc -c <&3']
    const writ = spawnWrit(args, { env: { WRIT_URL: broker.url, WRIT_TOKEN: 't' } })
    running.push(writ)
    expect((await writ.exited).stdout.trim()).toBe('300000')
  })

  it('puts into the environment what --env asks for, and nothing more', async () => {
    const exit = await run(['--fd', '3=raw:password', '--env', 'PGUSER=username'], sh('echo $PGUSER; env'))
    expect(exit.stdout).toMatch(/^v-checkout-1\n/)
    expect(exit.stdout).not.toContain(password)
    expect(exit.stdout).not.toContain('USERNAME=')
  })
})

describe('writ exec --file', () => {
  it('names a file in memory that only its owner can read and that is gone after', async () => {
    const script = 'echo $PGPASSFILE; stat -c "%a %F" $PGPASSFILE $(dirname $PGPASSFILE); cat $PGPASSFILE; env'
    const exit = await run(['--file', 'PGPASSFILE=pgpass', '--host', 'db'], sh(script))
    expect(exit).toMatchObject({ code: 0, stderr: '' })
    const [path = '', file, parent, line, ...environment] = exit.stdout.split('\n')
    expect([file, parent]).toEqual(['600 regular file', '700 directory'])
    expect(line).toBe(`db:*:*:v-checkout-1:${password}`)
    expect(environment.join('\n')).not.toContain(password)
    expect(statfsSync(dirname(dirname(path))).type).toBe(0x01021994)
    expect(existsSync(dirname(path))).toBe(false)
  })

  it('names the folder where clients look for a file of a fixed name', async () => {
    const options = ['--file', 'DOCKER_CONFIG=docker', '--registry', 'r.example.com']
    const exit = await run(options, sh('cat $DOCKER_CONFIG/config.json'))
    expect(JSON.parse(exit.stdout)).toHaveProperty(['auths', 'r.example.com', 'auth'])
  })

  it.each([
    ['ends well', 'exit 0', 0],
    ['fails', 'exit 3', 3],
    ['kills itself', 'kill -9 $$', 128 + constants.signals.SIGKILL],
    ['removes the file itself', 'rm $F', 0],
    ['puts a folder in its place', 'rm $F; mkdir -p $F/x', 0],
  ])('removes it when the command %s', async (_, script, code) => {
    const exit = await run(['--file', 'F=json'], sh(`echo $F; ${script}`))
    expect(exit).toMatchObject({ code, stderr: '' })
    expect(existsSync(dirname(exit.stdout.trim()))).toBe(false)
    expect(broker.requests(revoke)).toHaveLength(1)
  })

  it('does not follow a link that the command put in its place', async () => {
    const other = join(folder, 'other')
    writeFileSync(other, 'untouched')
    const exit = await run(['--file', 'F=json'], sh(`echo $F; ln -sf ${other} $F`))
    expect(readFileSync(other, 'utf8')).toBe('untouched')
    expect(existsSync(dirname(exit.stdout.trim()))).toBe(false)
  })

  it('overwrites what the command keeps another name of', async () => {
    // A second name in the same file system: what a removal alone would leave readable.
    const exit = await run(['--file', 'F=json'], sh('ln $F /dev/shm/writ-kept-$$; echo /dev/shm/writ-kept-$$'))
    const kept = exit.stdout.trim()
    const bytes = readFileSync(kept)
    rmSync(kept)
    expect(bytes.length).toBeGreaterThan(100)
    expect(bytes.every((byte) => byte === 0)).toBe(true)
  })

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('removes it after %s', async (signal) => {
    const writ = await start(['--file', 'F=json'], sh('echo $F; exec sleep 600'))
    await eventually(async () => (writ.stdout().endsWith('\n') ? true : undefined), 'the command runs')
    const path = writ.stdout().trim()
    expect(existsSync(path)).toBe(true)
    writ.signal(signal)
    expect((await writ.exited).code).toBe(128 + constants.signals[signal])
    expect(existsSync(dirname(path))).toBe(false)
  })

  it.each([
    ['there is no such command', [], ['/no/such/command'], 127],
    ['the secret has no such field', ['--fd', '3=aws-process'], ['true'], 2],
  ])('leaves nothing behind and hands back when %s', async (_, options, command, code) => {
    const memory = mkdtempSync('/dev/shm/writ-test-')
    try {
      const exit = await run(['--file', 'F=json', ...options], command, { XDG_RUNTIME_DIR: memory })
      expect(exit.code).toBe(code)
      expect(exit.stderr).not.toContain(password)
      expect(readdirSync(memory)).toEqual([])
      expect(broker.requests(revoke)).toHaveLength(1)
    } finally {
      rmSync(memory, { recursive: true })
    }
  })
})

describe('--fd and --file', () => {
  it.each([
    [['--fd', '2=json'], /3 to 9/],
    [['--fd', '3=jsonn'], /did you mean json/],
    [['--fd', '3=raw:password', '--fd', '3'], /given twice/],
    [['--file', 'json'], /NAME=/],
    [['--file', '1X=json'], /NAME is a variable/],
    [['--fd', '3=docker'], /--registry/],
    [['--fd', '3=json', '--host', 'db'], /--host goes with pgpass/],
    [['--host', 'db'], /--host goes with pgpass/],
    [['--fd', '3=pgpass', '--delivery', 'wrapped'], /--delivery wrapped hides them/],
    [['--fd', '3=ssh-agent'], /one of json/],
  ])('say what is wrong before anything is asked for: %j', async (options, why) => {
    const exit = await run(options, ['true'])
    expect(exit).toMatchObject({ code: 2, stdout: '' })
    expect(exit.stderr).toMatch(why)
    expect(broker.seen).toEqual([])
  })
})

const inNamespace = (script: string): string[] => ['-m', 'sh', '-c', `mount --bind ${folder} /dev/shm && ${script}`]
const canUnshare = spawnSync('unshare', inNamespace('true')).status === 0
describe.skipIf(!canUnshare)('needs unshare and the right to mount: a machine without a file system in memory', () => {
  it('runs no command and asks for nothing: a secret does not go to a disk', async () => {
    broker = await scriptedBroker({ [issue]: () => issued() })
    const bin = fileURLToPath(new URL('../../bin/writ.js', import.meta.url))
    const command = `"${process.execPath}" "${bin}" exec --purpose p --fd 3 -- true`
    const env = { WRIT_URL: broker.url, WRIT_TOKEN: 't', XDG_RUNTIME_DIR: folder }
    const exit = await runProgram('unshare', inNamespace(command), { env })
    expect(exit).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('does not go to a disk') })
    expect(broker.seen).toEqual([])
  })
})
