import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import { copyPolicies } from '../support/policy-folder.ts'
import { type Exit, runWrit, spawnWrit } from '../support/serve.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())

async function environment(as: string): Promise<Record<string, string>> {
  return { WRIT_URL: world.url, WRIT_TOKEN: await world.token(as) }
}
const writ = async (as: string, ...args: string[]): Promise<Exit> => runWrit(args, { env: await environment(as) })
const json = ({ stdout }: Exit) => JSON.parse(stdout)

// What psql would do, by the variables it reads: connects as the user it was given, asks, and says what it saw.
const psql = `
import pg from ${JSON.stringify(join(root, 'node_modules/pg/esm/index.mjs'))}
const client = new pg.Client({ host: '127.0.0.1', port: Number(process.argv[1]), database: 'orders' })
await client.connect()
const { rows } = await client.query('SELECT current_user AS name, count(*)::int AS orders FROM orders')
console.log(JSON.stringify({ ...rows[0], password: process.env.PGPASSWORD, grant: process.env.WRIT_GRANT }))
await client.end()
process.exitCode = Number(process.argv[2] ?? 0)
`
const withLogin = ['--env', 'PGUSER=username', '--env', 'PGPASSWORD=password', '--']
const postgresPort = (): string => new URL(world.stack.postgres.url).port
const runPsql = (...rest: string[]) => [process.execPath, '--input-type=module', '-e', psql, postgresPort(), ...rest]

describe('writ get', () => {
  test('prints the credential in the form asked for, and nothing else on stdout', async () => {
    const whole = await writ('checkout', 'get', '--purpose', 'read-orders', '--ttl', '10m')
    expect(whole.code, whole.stderr).toBe(0)
    const { secret, grant } = json(whole)
    expect(await world.login(secret)).toBe('in')

    const env = await writ('checkout', 'get', '--purpose', 'read-orders', '--format', 'env', ...withLogin.slice(0, 4))
    const [user, password] = ['PGUSER', 'PGPASSWORD'].map(
      (name) => new RegExp(`^${name}=(?:'(.*)'|(.*))$`, 'm').exec(env.stdout)?.slice(1).find(Boolean) ?? '',
    )
    expect(await world.login({ username: user, password })).toBe('in')

    const raw = await writ('checkout', 'get', '--purpose', 'read-orders', '--format', 'raw:username')
    expect(raw.stdout.trim()).toMatch(/^v-\S+$/)

    const back = await writ('checkout', 'revoke', grant, '--reason', 'done', '--json')
    expect(back.code, back.stderr).toBe(0)
    expect(await world.login(secret)).toMatch(/^28/)
    const rest = await writ('dana@security', 'revoke', '--workload', 'checkout', '--reason', 'tidy', '--yes', '--json')
    expect(rest.code, rest.stderr).toBe(0)
    expect(json(rest)).toMatchObject({ matched: 2 })
  })

  test('keeps the receipt, while writ ledger tail -f sees the issuance through the broker', async () => {
    const tail = spawnWrit(['ledger', 'tail', '-f', '-n', '0', '--kind', 'grant.issued', '--json'], {
      env: await environment('dana@security'),
    })
    const folder = await mkdtemp(join(tmpdir(), 'writ-receipt-'))
    try {
      const file = join(folder, 'issued.proof')
      // Until the tail listens; each issuance after that is one line of it.
      await eventually(async () => {
        const got = await writ('checkout', 'get', '--purpose', 'read-orders', '--receipt', file)
        expect(got.code, got.stderr).toBe(0)
        const { grant, ledger } = json(got)
        expect(await readFile(file, 'utf8')).toMatch(new RegExp(`^c2sp.org/tlog-proof@v1\nindex ${ledger.index}\n`))
        await writ('checkout', 'revoke', grant, '--reason', 'done')
        return tail.stdout().includes(grant) || undefined
      }, 'the tail sees an issuance')
      tail.signal('SIGINT')
      expect(await tail.exited).toMatchObject({ code: 0, stderr: '' })
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test('exits as the contract says: 2 usage, 3 refused, 4 not authenticated, 5 unavailable', async () => {
    const codes = await Promise.all([
      writ('checkout', 'get'),
      writ('checkout', 'get', '--purpose', 'fun'),
      runWrit(['get', '--purpose', 'read-orders'], { env: { WRIT_URL: world.url, WRIT_TOKEN: 'not.a.token' } }),
      runWrit(['get', '--purpose', 'read-orders'], { env: { WRIT_URL: world.url } }),
      runWrit(['get', '--purpose', 'read-orders'], { env: { WRIT_URL: 'http://127.0.0.1:9', WRIT_TOKEN: 'a.b.c' } }),
    ])
    expect(codes.map(({ code }) => code)).toEqual([2, 3, 4, 4, 5])
    for (const { stdout, stderr } of codes) {
      expect(stdout).toBe('')
      expect(stderr).toMatch(/^writ: /)
      expect(stderr).toMatch(/fix: /)
      expect(stderr).not.toMatch(/^\s+at /m)
    }
    expect(codes[1]?.stderr).toContain('purpose_unknown')
  })
})

describe('writ exec', () => {
  test('runs the command with a login that works, hands it back, and gives its exit status', async () => {
    const ran = await writ('checkout', 'exec', '--purpose', 'read-orders', ...withLogin, ...runPsql('7'))
    expect(ran.code, ran.stderr).toBe(7)
    const { name, orders, password, grant } = json(ran)
    expect(orders).toBeGreaterThan(0)
    expect(await world.login({ username: name, password })).toMatch(/^28/)
    const [ended] = await world.entries({ grant, kind: 'grant.ended' })
    expect(ended).toMatchObject({ cause: 'handed_back', outcome: 'revoked' })
    expect(ran.stderr).not.toContain(password)
  })

  test('hands back when the command is killed, and when writ itself is told to stop', async () => {
    const forever = [process.execPath, '-e', 'console.log(JSON.stringify(process.env)); setInterval(() => {}, 1000)']
    const args = ['exec', '--purpose', 'read-orders', ...withLogin, ...forever]
    const running = spawnWrit(args, { env: await environment('checkout') })
    await eventually(async () => (running.stdout().includes('\n') ? true : undefined), 'the command runs')
    const { PGUSER: username, PGPASSWORD: password } = JSON.parse(running.stdout())
    expect(await world.login({ username, password })).toBe('in')
    running.signal('SIGTERM')
    const { code } = await running.exited
    expect(code).toBe(128 + 15)
    expect(await world.login({ username, password })).toMatch(/^28/)
  })

  test('never runs the command without a credential, and says 127 for one that is not there', async () => {
    const refused = await writ(
      'checkout',
      'exec',
      '--purpose',
      'fun',
      '--',
      process.execPath,
      '-e',
      'console.log("ran")',
    )
    expect(refused).toMatchObject({ code: 3, stdout: '' })
    const absent = await writ('checkout', 'exec', '--purpose', 'read-orders', '--', '/no/such/command')
    expect(absent.code).toBe(127)
    const live = json(await writ('checkout', 'grants', '--json'))
    expect(live.grants).toEqual([])
  })
})

describe('people and tasks', () => {
  test('a request waits for its owner, who approves it from the command line', async () => {
    const wanted = ['get', '--purpose', 'break-fix', '--reason', 'order 7 is half-written']
    const pending = await writ('order-repair', ...wanted)
    expect(pending.code).toBe(5)
    const { approval } = json(pending)
    expect(pending.stderr).toContain(`writ approve ${approval}`)
    expect((await writ('carol@platform', 'approve', approval)).code).toBe(3)
    const approved = await writ('alice@payments', 'approve', approval, '--reason', 'seen', '--json')
    expect(json(approved)).toMatchObject({ status: 'approved' })
    const collected = await writ('order-repair', ...wanted, '--approval', approval)
    expect(collected.code, collected.stderr).toBe(0)
    expect(await world.login(json(collected).secret)).toBe('in')
    await writ('order-repair', 'revoke', json(collected).grant)

    const second = await writ('order-repair', ...wanted.slice(0, -1), 'order 8 is half-written')
    const other = /ap_[0-9a-z]{26}/.exec(second.stderr)?.[0] ?? ''
    expect((await writ('bob@payments', 'deny', other, '--reason', 'no')).code).toBe(0)
    expect(
      (await writ('order-repair', ...wanted.slice(0, -1), 'order 8 is half-written', '--approval', other)).code,
    ).toBe(3)
  })

  test('a task is opened, used and ended, and its credential is dead', async () => {
    const opened = await writ('coding-agent', 'task', 'start', '--purpose', 'fix-bug', '--intent', 'a look')
    expect(opened.code, opened.stderr).toBe(0)
    const task = opened.stdout.trim()
    expect(task).toMatch(/^tsk_/)
    const got = json(await writ('coding-agent', 'get', '--purpose', 'fix-bug', '--task', task))
    expect(await world.login(got.secret)).toBe('in')
    const listed = json(await writ('alice@payments', 'grants', '--task', task, '--json'))
    expect(listed.grants).toMatchObject([{ grant: got.grant, status: 'active' }])
    const ended = await writ('coding-agent', 'task', 'end', task, '--json')
    expect(json(ended).grants).toMatchObject([{ grant: got.grant, outcome: 'revoked' }])
    expect(await world.login(got.secret)).toMatch(/^28/)
  })
})

describe('the record', () => {
  test('is tailed by those who may read it, and verified offline; one changed byte is found', async () => {
    const tail = await writ('dana@security', 'ledger', 'tail', '-n', '5', '--json')
    expect(tail.code, tail.stderr).toBe(0)
    expect(tail.stdout.trim().split('\n')).toHaveLength(5)
    expect((await writ('checkout', 'ledger', 'tail')).code).toBe(3)

    const { dir, vkey } = world.ledger
    await eventually(async () => {
      const { code } = await runWrit(['ledger', 'verify', dir, '--vkey', vkey])
      return code === 0 ? true : undefined
    }, 'the running ledger verifies')
    await world.stopBroker()
    const verified = await runWrit(['ledger', 'verify', dir, '--vkey', vkey, '--json'])
    expect(verified.code, verified.stdout).toBe(0)
    const segment = join(dir, 'segments', `${'0'.repeat(20)}.log`)
    const bytes = await readFile(segment)
    const at = bytes.indexOf('handed_back')
    const forged = Buffer.from(bytes)
    forged.write('kill_switch', at)
    await writeFile(segment, forged)
    const found = await runWrit(['ledger', 'verify', dir, '--vkey', vkey])
    await writeFile(segment, bytes)
    expect(found.code).toBe(6)
    expect(found.stdout).toContain('NOT verified')
    expect((await runWrit(['ledger', 'verify', dir])).code).toBe(2)
    expect((await runWrit(['ledger', 'verify', '/no/such/folder', '--vkey', vkey])).code).toBe(1)
    await world.restart()
  }, 60_000)
})

describe('writ policy', () => {
  const policies = () => ['--policies', world.policies.dir]

  test('checks and tests the worked organisation, and finds a fault by file, line and column', async () => {
    const check = await runWrit(['policy', 'check', world.policies.dir])
    expect(check.code, check.stderr + check.stdout).toBe(0)
    const tested = await runWrit(['policy', 'test', join(root, 'policies')])
    expect(tested.code, tested.stderr + tested.stdout).toBe(0)
    await world.policies.write('workloads/broken.yaml', 'kind: Workload\nname: broken\n')
    const broken = await runWrit(['policy', 'check', world.policies.dir])
    await world.policies.remove('workloads/broken.yaml')
    expect(broken.code).not.toBe(0)
    expect(broken.stdout + broken.stderr).toMatch(/broken\.yaml:\d+:\d+/)
  })

  test('explains a decision as the broker would make it, and what an edit changes', async () => {
    const token = await world.token('checkout')
    const explain = (...rest: string[]) =>
      runWrit(['policy', 'explain', '--token', '-', '--unverified', '--json', ...policies(), ...rest], { input: token })
    expect((await explain('--purpose', 'read-orders')).code).toBe(0)
    const refused = await explain('--purpose', 'fun')
    expect(refused.code).toBe(3)
    expect(refused.stdout).toContain('purpose_unknown')
    expect(refused.stdout + refused.stderr).not.toContain(token)
    const other = await copyPolicies()
    await other.edit('workloads/checkout.yaml', (text) =>
      text.replace('ttl: { default: 15m, max: 1h }', 'ttl: { default: 15m, max: 30m }'),
    )
    const same = await runWrit(['policy', 'diff', world.policies.dir, world.policies.dir])
    const diff = await runWrit(['policy', 'diff', world.policies.dir, other.dir])
    await other.close()
    expect(same.code, same.stderr).toBe(0)
    expect(same.stdout).not.toContain('checkout')
    expect(diff.code, diff.stderr).toBe(0)
    expect(diff.stdout).toContain('checkout/read-orders')
  })
})

describe('writ ledger prove', () => {
  test('proves the whole life of a grant: through the broker, from the folder, and from saved files without either', async () => {
    const got = await writ('checkout', 'get', '--purpose', 'read-orders')
    expect(got.code, got.stderr).toBe(0)
    const { grant, secret } = json(got)
    expect((await writ('checkout', 'revoke', grant, '--reason', 'done')).code).toBe(0)
    const folder = await mkdtemp(join(tmpdir(), 'writ-evidence-'))
    const { dir, vkey } = world.ledger
    try {
      const prove = ['ledger', 'prove', grant, '--vkey', vkey, '--json']
      const asked = await writ('dana@security', ...prove, '--out', folder)
      expect(asked.code, asked.stderr).toBe(0)
      const { signature, entries } = json(asked)
      expect(signature).toBe('verified')
      const kinds = entries.map(({ entry }: { entry: { kind: string } }) => entry.kind)
      expect(kinds.slice(0, 2)).toEqual(['grant.intent', 'grant.issued'])
      expect(kinds.at(-1)).toBe('grant.ended')

      // The checkpoint that covered what the broker proved is in the folder by now, or one that follows it.
      const read = await runWrit([...prove.slice(0, 3), dir, ...prove.slice(3)])
      expect(read.code, read.stderr).toBe(0)
      const seen = (all: { index: number; entry: object }[]) => all.map(({ index, entry }) => ({ index, entry }))
      expect(seen(json(read).entries)).toEqual(seen(entries))

      const byUser = await writ('dana@security', 'ledger', 'prove', secret.username, '--vkey', vkey, '--json')
      expect(byUser.code, byUser.stderr).toBe(0)
      expect(json(byUser).entries).toMatchObject([{ entry: { kind: 'grant.issued', grant } }])

      for (const { index } of entries) {
        const files = [join(folder, `${index}.tlog-proof`), '--entry', join(folder, `${index}.json`)]
        const checked = await runWrit(['ledger', 'check-receipt', ...files, '--vkey', vkey])
        expect(checked.code, checked.stderr).toBe(0)
      }
      const [first, second] = entries.map(({ index }: { index: number }) => index)
      const swapped = [join(folder, `${first}.tlog-proof`), '--entry', join(folder, `${second}.json`)]
      expect((await runWrit(['ledger', 'check-receipt', ...swapped, '--vkey', vkey])).code).toBe(6)
      expect((await writ('nightly-report', ...prove)).code).not.toBe(0)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

test('help is there for every command, and a command that is not there is a usage error', async () => {
  for (const name of [
    'serve',
    'dev',
    'get',
    'exec',
    'grants',
    'task',
    'approve',
    'deny',
    'revoke',
    'ledger',
    'policy',
  ]) {
    const help = await runWrit([name, '--help'])
    expect(help, name).toMatchObject({ code: 0 })
    expect(help.stdout + help.stderr).toContain(`writ ${name}`)
  }
  expect((await runWrit(['frobnicate'])).code).toBe(2)
}, 60_000)
