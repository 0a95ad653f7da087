import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { eventually } from '../support/child.ts'
import { runWrit, spawnWrit, type WritProcess } from '../support/serve.ts'
import {
  approvalId,
  ended,
  grantId,
  grantIds,
  issued,
  issuedSet,
  ok,
  password,
  refusal,
  type ScriptedBroker,
  scriptedBroker,
} from './scripted-broker.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-exec-'))
const tokenFile = join(folder, 'token')
writeFileSync(tokenFile, 'first-token\n')
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

/** `writ exec … -- node -e SCRIPT`; the script prints `ready` when it can take signals. */
function start(script: string, options: string[] = []): WritProcess {
  const args = ['exec', '--purpose', 'read-orders', ...options, '--', process.execPath, '-e', script]
  const writ = spawnWrit(args, { env: { WRIT_URL: broker.url, WRIT_TOKEN_FILE: tokenFile } })
  running.push(writ)
  return writ
}

const printed = (writ: WritProcess, text: string) =>
  eventually(async () => (writ.stdout().includes(text) ? true : undefined), `the command prints ${text}`)

const untilSignal = (signal: string, code: number): string =>
  `process.on('${signal}', () => { console.log('got ${signal}'); process.exit(${code}) }); setInterval(() => {}, 1e6); console.log('ready')`

describe('writ exec', () => {
  it('gives the command its secret under the chosen names, on its own streams, and nothing of it to anybody else', async () => {
    broker = await scriptedBroker({ [issue]: () => issued(), [revoke]: () => ended() })
    const script =
      'console.log(process.env.PGUSER, process.env.PGPASSWORD, process.env.WRIT_GRANT, process.env.USERNAME)'
    const exit = await start(script, ['--env', 'PGUSER=username', '--env', 'PGPASSWORD=password']).exited
    expect(exit).toMatchObject({ code: 0, stdout: `v-checkout-1 ${password} ${grantId} undefined\n`, stderr: '' })
    expect(broker.requests(issue)).toEqual([
      { method: 'POST', path: '/v1/credentials', token: 'first-token', body: { purpose: 'read-orders' } },
    ])
  })

  it('gives every field under its own name when none is chosen', async () => {
    broker = await scriptedBroker({ [issue]: () => issued(), [revoke]: () => ended() })
    const exit = await start('console.log(process.env.USERNAME, process.env.PASSWORD)').exited
    expect(exit.stdout).toBe(`v-checkout-1 ${password}\n`)
  })

  it('gives the command all of a set under names that say which, and hands all of it back', async () => {
    const revokes = grantIds.map((grant) => `POST /v1/grants/${grant}/revoke`)
    const handlers = Object.fromEntries(grantIds.map((grant, at) => [revokes[at] ?? '', () => ended('revoked', grant)]))
    broker = await scriptedBroker({ [issue]: issuedSet, ...handlers })
    const set = ['--credential', 'orders-ro', '--credential', 'internal-tls']
    const names = 'ORDERS_RO_PASSWORD INTERNAL_TLS_PRIVATE_KEY PASSWORD WRIT_GRANT'.split(' ')
    const print = (list: readonly string[]): string =>
      `console.log(${list.map((name) => `process.env.${name}`).join(', ')})`
    const own = await start(print(names), set).exited
    expect(own).toMatchObject({ code: 0, stdout: `${password} key undefined ${grantIds.join(' ')}\n`, stderr: '' })
    expect(broker.requests(issue)[0]?.body).toEqual({
      purpose: 'read-orders',
      credential: ['orders-ro', 'internal-tls'],
    })
    const chosen = [...set, '--env', 'PGPASSWORD=orders-ro.password', '--env', 'KEY=internal-tls.private_key']
    const mapped = await start(print(['PGPASSWORD', 'KEY', 'ORDERS_RO_PASSWORD']), chosen).exited
    expect(mapped.stdout).toBe(`${password} key undefined\n`)
    for (const revoke of revokes) expect(broker.requests(revoke)).toHaveLength(2)
  })

  it.each([
    ['ends well', 'process.exit(0)', 0],
    ['fails', 'process.exit(42)', 42],
    ['crashes', 'throw new Error("boom")', 1],
    ['is killed', 'process.kill(process.pid, "SIGKILL")', 128 + constants.signals.SIGKILL],
    ['is aborted', 'process.abort()', 128 + constants.signals.SIGABRT],
  ])('returns the status and hands back once when the command %s', async (_, script, code) => {
    broker = await scriptedBroker({ [issue]: () => issued(), [revoke]: () => ended() })
    const exit = await start(script).exited
    expect(exit).toMatchObject({ code, signal: null })
    expect(broker.requests(revoke)).toHaveLength(1)
  })

  it.each([
    ['there is no such command', '/no/such/command', 127],
    ['it cannot be run', folder, 126],
  ])('hands back when %s', async (_, command, code) => {
    broker = await scriptedBroker({ [issue]: () => issued(), [revoke]: () => ended() })
    const exit = await runWrit(['exec', '--purpose', 'read-orders', '--', command], {
      env: { WRIT_URL: broker.url, WRIT_TOKEN: 't' },
    })
    expect(exit.code).toBe(code)
    expect(exit.stderr).toContain(command)
    expect(broker.requests(revoke)).toHaveLength(1)
  })

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGQUIT'] as const)(
    'passes %s on, waits for the command, returns its status and hands back',
    async (signal) => {
      broker = await scriptedBroker({ [issue]: () => issued(), [revoke]: () => ended() })
      const writ = start(untilSignal(signal, 7))
      await printed(writ, 'ready')
      writ.signal(signal)
      expect(await writ.exited).toMatchObject({ code: 7, signal: null, stdout: `ready\ngot ${signal}\n` })
      expect(broker.requests(revoke)).toHaveLength(1)
    },
  )

  it('returns 128 and the signal when the signal it passed on ended the command', async () => {
    broker = await scriptedBroker({ [issue]: () => issued(), [revoke]: () => ended() })
    const writ = start("setInterval(() => {}, 1e6); console.log('ready')")
    await printed(writ, 'ready')
    writ.signal('SIGTERM')
    expect((await writ.exited).code).toBe(128 + constants.signals.SIGTERM)
    expect(broker.requests(revoke)).toHaveLength(1)
  })

  it('hands back what arrives after a signal, and never runs the command', async () => {
    let writ: WritProcess | undefined
    broker = await scriptedBroker({
      [issue]: () => {
        writ?.signal('SIGTERM')
        return issued()
      },
      [revoke]: () => ended(),
    })
    writ = start("console.log('ran')")
    expect(await writ.exited).toMatchObject({ code: 128 + constants.signals.SIGTERM, stdout: '' })
    expect(broker.requests(revoke)).toHaveLength(1)
  })

  it('renews at two thirds of the life with the token that is in the file by then, by the clock of the broker', async () => {
    // The clock of this broker is an hour ahead: only differences of its own times may count.
    const aheadMs = 3_600_000
    const renewedTo = () => new Date(Date.now() + aheadMs + 60_000).toISOString()
    broker = await scriptedBroker({
      [issue]: () => {
        writeFileSync(tokenFile, 'second-token\n')
        return issued(2_400, {}, aheadMs)
      },
      [renew]: () => ok({ grant: grantId, expires_at: renewedTo(), ttl_capped_by: [] }),
      [revoke]: () => ended(),
    })
    writeFileSync(tokenFile, 'first-token\n')
    const startedMs = Date.now()
    const writ = start(untilSignal('SIGTERM', 0), ['--ttl', '3s'])
    const [first] = await broker.waitFor(renew)
    expect(first).toMatchObject({ token: 'second-token', body: { ttl: '3s' } })
    expect(Date.now() - startedMs).toBeGreaterThanOrEqual(1_600)
    writ.signal('SIGTERM')
    expect(await writ.exited).toMatchObject({ code: 0, stderr: '' })
    expect(broker.requests(renew)).toHaveLength(1)
    writeFileSync(tokenFile, 'first-token\n')
  })

  it('goes on renewing when the broker was away, and leaves the command alone', async () => {
    let away = true
    broker = await scriptedBroker({
      [issue]: () => issued(6_000),
      [renew]: () => {
        if (!away)
          return ok({ grant: grantId, expires_at: new Date(Date.now() + 60_000).toISOString(), ttl_capped_by: [] })
        away = false
        return refusal('vault_unavailable', {}, { 'retry-after': '1' })
      },
      [revoke]: () => ended(),
    })
    const writ = start(untilSignal('SIGTERM', 0))
    await broker.waitFor(renew, 2)
    writ.signal('SIGTERM')
    expect(await writ.exited).toMatchObject({ code: 0, stderr: '' })
  })

  it('says why once and stops renewing when the broker refuses; the command runs on', async () => {
    broker = await scriptedBroker({
      [issue]: () => issued(1_500),
      [renew]: () => refusal('state_conflict'),
      [revoke]: () => ended('expired'),
    })
    const writ = start(untilSignal('SIGTERM', 0))
    await eventually(async () => (writ.stderr().includes('has ended') ? true : undefined), 'the end is announced')
    expect(writ.stderr()).toContain('state_conflict')
    expect(broker.requests(renew)).toHaveLength(1)
    writ.signal('SIGTERM')
    expect((await writ.exited).code).toBe(0)
  })

  it('hands back again and again while the broker cannot be reached, and says so when it gives up', async () => {
    broker = await scriptedBroker({ [issue]: () => issued(), [revoke]: () => undefined })
    const exit = await start('process.exit(3)').exited
    expect(exit.code).toBe(3)
    expect(broker.requests(revoke).length).toBeGreaterThan(2)
    expect(exit.stderr).toMatch(/could not be handed back.*ends at/)
    expect(exit.stderr).not.toContain(password)
  })

  it.each([
    ['purpose_unknown', 3],
    ['token_expired', 4],
    ['vault_unavailable', 5],
    ['limit_reached', 5],
    ['request_invalid', 2],
    ['engine_refused', 1],
  ] as const)('does not run the command when the broker says %s (exit %i)', async (code, status) => {
    broker = await scriptedBroker({ [issue]: () => refusal(code) })
    const exit = await start("console.log('ran')").exited
    expect(exit).toMatchObject({ code: status, stdout: '' })
    expect(exit.stderr).toContain(code)
    expect(broker.seen).toHaveLength(1)
  })

  it('waits for the approval when asked to, then runs the command with what it allows', async () => {
    let polls = 0
    const pending = {
      approval: approvalId,
      status: 'pending',
      approvers: ['payments'],
      expires_at: '2026-11-22T12:00:00.000Z',
      poll: `/v1/approvals/${approvalId}`,
    }
    broker = await scriptedBroker({
      [issue]: ({ body }) => ((body as { approval?: string }).approval === approvalId ? issued() : ok(pending, 202)),
      [`GET /v1/approvals/${approvalId}`]: () => {
        polls += 1
        return ok({ ...approval, status: polls === 1 ? 'pending' : 'approved' })
      },
      [revoke]: () => ended(),
    })
    const exit = await start("console.log('ran')", ['--wait']).exited
    expect(exit).toMatchObject({ code: 0, stdout: 'ran\n' })
    expect(exit.stderr).toMatch(/waiting for payments/)
    expect(broker.requests(revoke)).toHaveLength(1)
  })

  it('needs a command and a purpose, and says so before it asks the broker for anything', async () => {
    broker = await scriptedBroker({})
    const env = { WRIT_URL: broker.url, WRIT_TOKEN: 't' }
    expect(await runWrit(['exec', '--purpose', 'p'], { env })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('after --'),
    })
    expect(await runWrit(['exec', '--', 'true'], { env })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--purpose'),
    })
    const bad = await runWrit(['exec', '--purpose', 'p', '--env', '1X=a', '--', 'true'], { env })
    expect(bad.code).toBe(2)
    expect(broker.seen).toEqual([])
  })
})

const approval = {
  approval: approvalId,
  status: 'pending',
  level: 'owner',
  approvers: ['payments'],
  approved_by: [],
  workload: 'checkout',
  purpose: 'read-orders',
  credential: 'orders-ro',
  environment: 'prod',
  ttl_seconds: 900,
  reason: '',
  requested_at: '2026-11-22T10:00:00.000Z',
  expires_at: '2026-11-22T12:00:00.000Z',
  grant: null,
}
