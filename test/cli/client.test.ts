import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { runWrit } from '../support/serve.ts'
import {
  approvalId,
  ended,
  grantId,
  grantView,
  issued,
  ok,
  orderView,
  password,
  refusal,
  revocationId,
  type ScriptedBroker,
  scriptedBroker,
  taskId,
} from './scripted-broker.ts'

const folder = mkdtempSync(join(tmpdir(), 'writ-client-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let broker: ScriptedBroker
afterEach(() => broker?.close())

const issue = 'POST /v1/credentials'
const writ = (...args: string[]) => runWrit(args, { env: { WRIT_URL: broker.url, WRIT_TOKEN: 'tok.en' } })
const get = (...args: string[]) => writ('get', '--purpose', 'read-orders', ...args)

describe('writ get', () => {
  it('prints the whole answer as one JSON document, and sends what was asked for and no more', async () => {
    broker = await scriptedBroker({ [issue]: () => issued() })
    const key = join(folder, 'key.pub')
    writeFileSync(key, 'ssh-ed25519 AAAA\n')
    const exit = await get(
      '--credential',
      'orders-ro',
      '--ttl',
      '15m',
      '--reason',
      'look',
      '--param',
      `public_key=@${key}`,
    )
    expect(exit).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(exit.stdout)).toMatchObject({ grant: grantId, secret: { username: 'v-checkout-1', password } })
    expect(exit.stdout.trimEnd().split('\n')).toHaveLength(1)
    expect(broker.seen.map(({ body, token }) => ({ body, token }))).toEqual([
      {
        token: 'tok.en',
        body: {
          purpose: 'read-orders',
          credential: 'orders-ro',
          ttl: '15m',
          reason: 'look',
          params: { public_key: 'ssh-ed25519 AAAA\n' },
        },
      },
    ])
  })

  describe('--receipt', () => {
    const proof = 'c2sp.org/tlog-proof@v1\nindex 1\n\nwrit.test/ledger\n2\nAAAA\n\n— writ.test/ledger AAAA\n'
    const receiptRoute = 'GET /v1/ledger/entries/1/receipt'
    const withProof = (text: string | null | undefined) => () =>
      issued(60_000, {
        ledger: { index: 1, receipt: '/v1/ledger/entries/1/receipt', ...(text !== undefined && { proof: text }) },
      })
    const inFolder = async (use: (file: string, dir: string) => Promise<void>): Promise<void> => {
      const dir = mkdtempSync(join(folder, 'receipt-'))
      await use(join(dir, 'issued.proof'), dir)
    }

    it('asks to wait for it and keeps it whole, for all to read, in the place of an older one', () =>
      inFolder(async (file, dir) => {
        broker = await scriptedBroker({ [issue]: withProof(proof) })
        writeFileSync(file, 'older', { mode: 0o600 })
        const exit = await get('--receipt', file, '--format', 'raw:password')
        expect(exit).toMatchObject({ code: 0, stdout: password, stderr: '' })
        expect(readFileSync(file, 'utf8')).toBe(proof)
        expect(statSync(file).mode & 0o777).toBe(0o644)
        expect(readdirSync(dir)).toEqual(['issued.proof'])
        expect(broker.seen.map(({ body }) => body)).toEqual([{ purpose: 'read-orders', receipt: 'wait' }])
      }))

    it.each([null, undefined])('fetches it when it was not ready (%s), and tries again while it is pending', (early) =>
      inFolder(async (file) => {
        let asked = 0
        broker = await scriptedBroker({
          [issue]: withProof(early),
          [receiptRoute]: () => (asked++ === 0 ? refusal('receipt_pending') : { status: 200, body: proof }),
        })
        expect(await get('--receipt', file)).toMatchObject({ code: 0, stderr: '' })
        expect(readFileSync(file, 'utf8')).toBe(proof)
      }),
    )

    it.each([
      ['the broker has none', () => refusal('not_found')],
      ['it is none', () => ({ status: 200, body: '<html>' })],
    ])('says that there is none when %s, prints the credential all the same, and touches nothing', (_, answer) =>
      inFolder(async (file, dir) => {
        broker = await scriptedBroker({ [issue]: withProof(null), [receiptRoute]: answer })
        writeFileSync(file, 'older')
        const exit = await get('--receipt', file, '--format', 'raw:password')
        expect(exit).toMatchObject({ code: 0, stdout: password })
        expect(exit.stderr).toMatch(/the receipt is not in .*issued\.proof: .*fix: fetch it later from \/v1\/ledger/s)
        expect(readFileSync(file, 'utf8')).toBe('older')
        expect(readdirSync(dir)).toEqual(['issued.proof'])
      }),
    )

    it('asks for no credential when the file cannot be written', () =>
      inFolder(async (_, dir) => {
        broker = await scriptedBroker({ [issue]: withProof(proof) })
        for (const place of [join(dir, 'none', 'x'), dir]) {
          const exit = await get('--receipt', place)
          expect(exit).toMatchObject({ code: 1, stdout: '' })
          expect(exit.stderr).toContain('cannot be written')
        }
        expect(broker.seen).toEqual([])
        expect(readdirSync(dir)).toEqual([])
      }))

    it('leaves nothing behind when the request is refused or has to wait for a person', () =>
      inFolder(async (file, dir) => {
        broker = await scriptedBroker({ [issue]: () => refusal('purpose_unknown') })
        expect((await get('--receipt', file)).code).toBe(3)
        expect(readdirSync(dir)).toEqual([])
      }))
  })

  it('prints lines that a shell reads back unchanged, whatever the secret holds', async () => {
    const odd = `a'b"c$d\`e\\f\ng h`
    broker = await scriptedBroker({ [issue]: () => issued(60_000, { secret: { username: 'v-1', password: odd } }) })
    const exit = await get('--format', 'env', '--env', 'PGUSER=username', '--env', 'PGPASSWORD=password')
    expect(exit.code).toBe(0)
    expect(exit.stdout).toMatch(/^PGUSER=v-1\nPGPASSWORD='/)
    const { spawnSync } = await import('node:child_process')
    const script = `${exit.stdout}printf %s "$PGPASSWORD"`
    expect(spawnSync('sh', ['-c', script], { encoding: 'utf8' }).stdout).toBe(odd)
  })

  it('prints one field exactly as it is', async () => {
    broker = await scriptedBroker({ [issue]: () => issued() })
    expect(await get('--format', 'raw:password')).toMatchObject({ code: 0, stdout: password })
  })

  it.each([['raw:no_such'], ['env', '--env', 'X=no_such']])(
    'hands the credential back when it cannot print it as asked (%s)',
    async (...format) => {
      broker = await scriptedBroker({ [issue]: () => issued(), [`POST /v1/grants/${grantId}/revoke`]: () => ended() })
      const exit = await get('--format', ...format)
      expect(exit).toMatchObject({ code: 2, stdout: '' })
      expect(exit.stderr).toContain('username, password')
      expect(exit.stderr).not.toContain(password)
      expect(broker.requests(`POST /v1/grants/${grantId}/revoke`)).toHaveLength(1)
    },
  )

  it('exits 5 with the approval to wait for, and collects it when it is named', async () => {
    const pending = {
      approval: approvalId,
      status: 'pending',
      approvers: ['payments'],
      expires_at: '2026-11-22T12:00:00.000Z',
      poll: `/v1/approvals/${approvalId}`,
    }
    broker = await scriptedBroker({
      [issue]: ({ body }) => ((body as { approval?: string }).approval ? issued() : ok(pending, 202)),
    })
    const first = await get()
    expect(first.code).toBe(5)
    expect(JSON.parse(first.stdout)).toEqual(pending)
    expect(first.stderr).toContain(`--approval ${approvalId}`)
    expect((await get('--approval', approvalId)).code).toBe(0)
  })

  it('stops waiting when the approval is denied', async () => {
    const pending = {
      approval: approvalId,
      status: 'pending',
      approvers: ['payments'],
      expires_at: '2026-11-22T12:00:00.000Z',
      poll: '/',
    }
    broker = await scriptedBroker({
      [issue]: () => ok(pending, 202),
      [`GET /v1/approvals/${approvalId}`]: () => ok({ ...approval, status: 'denied' }),
    })
    expect(await get('--wait')).toMatchObject({ code: 3, stdout: '', stderr: expect.stringContaining('denied') })
    expect(broker.requests(issue)).toHaveLength(1)
  })

  it.each([
    ['--ttl', '5x'],
    ['--purpose', '../etc'],
    ['--task', 'tsk_1'],
    ['--param', 'novalue'],
    ['--format', 'xml'],
    ['--delivery', 'email'],
  ])('refuses %s %s before anything is sent', async (option, value) => {
    broker = await scriptedBroker({})
    const args = option === '--purpose' ? ['get', option, value] : ['get', '--purpose', 'p', option, value]
    const exit = await writ(...args)
    expect(exit).toMatchObject({ code: 2, stdout: '' })
    expect(exit.stderr).toContain(option)
    expect(broker.seen).toEqual([])
  })
})

describe('what the broker answers', () => {
  it('is explained with code, fix, rules and request, and with --json as one document on stdout', async () => {
    broker = await scriptedBroker({
      [issue]: () => refusal('condition_failed', { reasons: ['purpose.when'] }),
    })
    const exit = await get('--json')
    expect(exit.code).toBe(3)
    expect(exit.stderr).toMatch(/condition_failed[\s\S]*because: purpose\.when[\s\S]*fix: [\s\S]*request: rq_test/)
    expect(JSON.parse(exit.stdout)).toMatchObject({
      error: { exit: 3, code: 'condition_failed', request_id: 'rq_test', reasons: ['purpose.when'] },
    })
  })

  it('cannot move the cursor, hide or reorder text, or ring the bell', async () => {
    const detail = 'a\u001b[2Jb\u0007c\u202ed\u200be\rf\u0000g\u{e0041}h\u009bi'
    broker = await scriptedBroker({ [issue]: () => refusal('condition_failed', { detail }) })
    const exit = await get('--json')
    for (const stream of [exit.stderr, exit.stdout]) {
      expect(stream.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
    }
    expect(exit.stderr).toContain('\\u{1b}[2Jb')
    expect(JSON.parse(exit.stdout).error.message).toContain(detail)
  })

  it('is never retried when it is a refusal', async () => {
    broker = await scriptedBroker({ 'GET /v1/grants': () => refusal('role_required') })
    expect((await writ('grants')).code).toBe(3)
    expect(broker.seen).toHaveLength(1)
  })

  it('is asked for again when a read finds the broker draining', async () => {
    let first = true
    broker = await scriptedBroker({
      'GET /v1/grants': () => {
        if (!first) return ok({ grants: [], next: null })
        first = false
        return refusal('draining')
      },
    })
    expect((await writ('grants', '--json')).stdout).toBe('{"grants":[],"next":null}\n')
  })

  it('is never followed elsewhere: a redirect does not carry the token away', async () => {
    const other = await scriptedBroker({})
    broker = await scriptedBroker({
      [issue]: () => ({ status: 307, body: '', headers: { location: `${other.url}/v1/credentials` } }),
    })
    expect((await get()).code).toBe(5)
    expect(other.seen).toEqual([])
    await other.close()
  })

  it.each([
    [500, '<html>', 1],
    [502, '<html>', 5],
    [404, '{}', 1],
    [200, '{"grant":1}', 1],
    [201, 'not json', 1],
  ])('exits well when it is not a broker that answers (%i %s)', async (status, body, code) => {
    broker = await scriptedBroker({ [issue]: () => ({ status, body }) })
    const exit = await get()
    expect(exit).toMatchObject({ code, stdout: '' })
    expect(exit.stderr).toContain(broker.url)
  })

  it('exits 5 and names the address when nobody listens there', async () => {
    broker = await scriptedBroker({})
    await broker.close()
    const { url } = broker
    const exit = await runWrit(['get', '--purpose', 'p', '--url', url], { env: { WRIT_TOKEN: 't' } })
    expect(exit).toMatchObject({ code: 5, stderr: expect.stringContaining(`${url} cannot be reached (ECONNREFUSED)`) })
    broker = await scriptedBroker({})
  })
})

describe('writ grants', () => {
  it('reads every page and prints one table', async () => {
    const second = grantView({ grant: `gr_${'1'.repeat(26)}`, status: 'ended', outcome: 'revoked' })
    broker = await scriptedBroker({
      'GET /v1/grants': ({ path }) =>
        ok(path.includes('after=') ? { grants: [second], next: null } : { grants: [grantView()], next: 'more' }),
    })
    const exit = await writ('grants', '--workload', 'checkout', '--status', 'all')
    expect(exit.code).toBe(0)
    expect(exit.stdout).toMatch(/^GRANT +STATUS[\s\S]*active[\s\S]*v-checkout-1\n[\s\S]*ended \(revoked\)/)
    expect(broker.seen.map(({ path }) => path)).toEqual([
      '/v1/grants?workload=checkout&status=all&limit=500',
      '/v1/grants?workload=checkout&status=all&limit=500&after=more',
    ])
  })

  it('shows one grant as JSON', async () => {
    broker = await scriptedBroker({ [`GET /v1/grants/${grantId}`]: () => ok(grantView()) })
    expect(JSON.parse((await writ('grants', grantId, '--json')).stdout)).toEqual(grantView())
  })

  it('keeps an id inside its path segment', async () => {
    broker = await scriptedBroker({})
    expect((await writ('grants', '../tasks/x?y')).code).toBe(1)
    expect(broker.seen[0]?.path).toBe('/v1/grants/..%2Ftasks%2Fx%3Fy')
  })
})

describe('writ revoke', () => {
  it('ends one grant', async () => {
    broker = await scriptedBroker({ [`POST /v1/grants/${grantId}/revoke`]: () => ended() })
    const exit = await writ('revoke', grantId, '--reason', 'found in a log')
    expect(exit).toMatchObject({ code: 0, stdout: expect.stringMatching(/revoked +12 ms/) })
    expect(broker.seen[0]?.body).toEqual({ reason: 'found in a log' })
  })

  it('exits 1 when a secret could not be ended, and names what only expires', async () => {
    const grants = [
      { grant: grantId, credential: 'a', outcome: 'irrevocable' as const, latency_ms: 1 },
      { grant: grantId, credential: 'b', outcome: 'expires_only' as const, latency_ms: 1 },
    ]
    broker = await scriptedBroker({ 'POST /v1/revocations': () => ok(orderView({ matched: 2, done: 1, grants }), 202) })
    const exit = await writ('revoke', '--owner', 'payments', '--reason', 'left', '--yes')
    expect(exit.code).toBe(1)
    expect(exit.stderr).toMatch(/1 of 2 cannot be ended[\s\S]*1 of 2 could not be ended/)
    expect(exit.stderr).toContain('writ revocations rev_')
    expect(broker.seen[0]?.body).toEqual({ match: { owner: 'payments' }, reason: 'left', wait: '1s' })
  })

  it('only looks with --dry-run', async () => {
    broker = await scriptedBroker({
      'POST /v1/revocations': () => ok({ matched: 0, revocable: 0, grants: [], dry_run: true }),
    })
    expect((await writ('revoke', '--all', '--reason', 'drill', '--dry-run', '--json')).stdout).toBe(
      '{"matched":0,"revocable":0,"grants":[],"dry_run":true}\n',
    )
    expect(broker.seen.map(({ body }) => body)).toEqual([{ match: { all: true }, reason: 'drill', dry_run: true }])
  })

  it('follows an order to its end, and says with --json each time it has come further', async () => {
    const far = [orderView({ matched: 3, done: 1, tried: false }), orderView({ matched: 3, done: 2, tried: false })]
    const hold = { holding: true, seconds: 3600, until: '2026-11-22T12:00:00.000Z', lifted_at: null }
    const last = orderView({ status: 'completed', matched: 3, done: 3, hold, grants: [] })
    broker = await scriptedBroker({
      'POST /v1/revocations': () => ok(orderView({ matched: 3, done: 0, tried: false }), 202),
      [`GET /v1/revocations/${revocationId}`]: () => ok(far.shift() ?? last),
    })
    const exit = await writ('revoke', '--workload', 'checkout', '--reason', 'x', '--hold', '1h', '--yes', '--json')
    expect(exit.code).toBe(0)
    const lines = exit.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.map(({ done, status }) => [done, status])).toEqual([
      [0, 'open'],
      [1, 'open'],
      [2, 'open'],
      [3, 'completed'],
    ])
    expect(exit.stderr).toContain('nothing that matches is issued until 2026-11-22T12:00:00.000Z')
    expect(broker.seen[0]?.body).toMatchObject({ hold: '1h' })
  })

  it.each([
    [['--all', '--reason', 'x'], '--yes'],
    [[grantId, '--hold', '1h'], '--hold'],
    [['--all', '--yes'], '--reason'],
    [['--all', '--owner', 'a', '--reason', 'x', '--yes'], 'exactly one'],
    [['--reason', 'x'], 'exactly one'],
    [[grantId, '--all', '--reason', 'x', '--yes'], 'exactly one'],
    [['--workload', 'a b', '--reason', 'x', '--yes'], '--workload'],
  ])('ends nothing for %j', async (args, said) => {
    broker = await scriptedBroker({})
    expect(await writ('revoke', ...args)).toMatchObject({ code: 2, stderr: expect.stringContaining(said) })
    expect(broker.seen).toEqual([])
  })
})

describe('writ report revocation', () => {
  const row = {
    engine: 'database',
    cause: 'kill_switch',
    ended: 3,
    revoked: 2,
    p50_ms: 12,
    p95_ms: 30,
    p99_ms: 30,
    max_ms: 30,
    retried: 1,
    expires_only: 0,
  }
  const report = {
    from: '2026-10-23T12:00:00.000Z',
    to: '2026-11-22T12:00:00.000Z',
    rows: [row, { ...row, engine: 'ssh', revoked: 0, p50_ms: null, p95_ms: null, p99_ms: null, max_ms: null }],
    now: { unrevoked: 2, irrevocable: 1, expires_only: 4 },
  }

  it('shows a line for each engine and cause, and what is left', async () => {
    broker = await scriptedBroker({ 'GET /v1/reports/revocation': () => ok(report) })
    const exit = await writ('report', 'revocation', '--from', report.from)
    expect(exit).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/database +kill_switch +3 +2 +12 +30 +30 +30 +1/),
    })
    expect(exit.stderr).toMatch(/2 must end .*1 of them a finding[\s\S]*4 have ended/)
    expect(broker.seen[0]?.path).toBe(`/v1/reports/revocation?${new URLSearchParams({ from: report.from })}`)
    expect(JSON.parse((await writ('report', 'revocation', '--json')).stdout)).toEqual(report)
  })

  it.each([[[]], [['revokation']], [['revocation', '--from', 'yesterday']]])('explains %j', async (args) => {
    broker = await scriptedBroker({})
    expect((await writ('report', ...args)).code).toBe(2)
    expect(broker.seen).toEqual([])
  })
})

describe('writ revocations', () => {
  it('lists what is ordered and what it holds', async () => {
    const { grants: _, ...order } = orderView({ matched: 3, done: 2 })
    broker = await scriptedBroker({ 'GET /v1/revocations': () => ok({ revocations: [order] }) })
    const exit = await writ('revocations')
    expect(exit).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/workload checkout +2 of 3 .* held until all/),
    })
  })

  it('lifts a hold, with a reason', async () => {
    const hold = { holding: false, seconds: 60, until: null, lifted_at: '2026-11-22T12:00:00.000Z' }
    broker = await scriptedBroker({ [`POST /v1/revocations/${revocationId}/lift`]: () => ok(orderView({ hold })) })
    const exit = await writ('revocations', revocationId, '--lift', '--reason', 'rebuilt')
    expect(exit).toMatchObject({ code: 0, stdout: expect.stringContaining('goes on') })
    expect(broker.seen[0]?.body).toEqual({ reason: 'rebuilt' })
  })

  it.each([[['--lift']], [[revocationId, '--reason', 'x']]])('explains %j', async (args) => {
    broker = await scriptedBroker({})
    expect((await writ('revocations', ...args)).code).toBe(2)
    expect(broker.seen).toEqual([])
  })
})

describe('writ task', () => {
  const task = {
    task: taskId,
    workload: 'order-repair',
    purpose: 'fix-bug',
    intent: 'look',
    status: 'open',
    opened_at: '2026-11-22T10:00:00.000Z',
    expires_at: '2026-11-22T11:00:00.000Z',
    ended_at: null,
    heartbeat_due_at: null,
    heartbeat_seconds: null,
    run: null,
    grants: 0,
  }

  it('prints the id alone, for a variable', async () => {
    broker = await scriptedBroker({ 'POST /v1/tasks': () => ok(task, 201) })
    const exit = await writ('task', 'start', '--purpose', 'fix-bug', '--intent', 'look')
    expect(exit).toMatchObject({ code: 0, stdout: `${taskId}\n` })
    expect(broker.seen[0]?.body).toEqual({ purpose: 'fix-bug', intent: 'look' })
  })

  it('ends with how each grant ended', async () => {
    const grants = [{ grant: grantId, credential: 'orders-ro', outcome: 'revoked', latency_ms: 30 }]
    broker = await scriptedBroker({
      [`POST /v1/tasks/${taskId}/end`]: () => ok({ task: taskId, status: 'ended', grants }),
    })
    expect((await writ('task', 'end', taskId, '--outcome', 'fixed')).stdout).toMatch(/1 grants\n[\s\S]*30 ms/)
    expect(broker.seen[0]?.body).toEqual({ outcome: 'fixed' })
  })

  it('says that it is still at work', async () => {
    broker = await scriptedBroker({ [`POST /v1/tasks/${taskId}/heartbeat`]: () => ok(task) })
    expect((await writ('task', 'heartbeat', taskId)).stdout).toContain('open until')
  })

  it.each([[[]], [['strat']], [['start', '--purpose', 'p']], [['end']]])('explains %j', async (args) => {
    broker = await scriptedBroker({})
    expect((await writ('task', ...args)).code).toBe(2)
    expect(broker.seen).toEqual([])
  })
})

const approval = {
  approval: approvalId,
  status: 'approved',
  level: 'owner',
  approvers: ['payments'],
  approved_by: ['alice@payments'],
  workload: 'checkout',
  purpose: 'read-orders',
  credential: 'orders-rw',
  environment: 'prod',
  ttl_seconds: 900,
  reason: '',
  requested_at: '2026-11-22T10:00:00.000Z',
  expires_at: '2026-11-22T12:00:00.000Z',
  grant: null,
}

describe('writ approve and deny', () => {
  it.each([
    ['approve', 'approved'],
    ['deny', 'denied'],
  ])('%s says so to the broker', async (verdict, status) => {
    broker = await scriptedBroker({
      [`POST /v1/approvals/${approvalId}/${verdict}`]: () => ok({ ...approval, status }),
    })
    const exit = await writ(verdict, approvalId, '--reason', 'incident 4711')
    expect(exit).toMatchObject({ code: 0, stdout: expect.stringContaining(status) })
    expect(broker.seen[0]?.body).toEqual({ reason: 'incident 4711' })
  })

  it('says that a second yes is needed', async () => {
    broker = await scriptedBroker({
      [`POST /v1/approvals/${approvalId}/approve`]: () => ok({ ...approval, status: 'pending', level: 'two-person' }),
    })
    expect((await writ('approve', approvalId)).stdout).toMatch(/pending; one more yes is needed .*alice@payments/)
  })
})
