import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { freePort } from '../support/child.ts'
import { json, type ScriptedVault, scriptedVault } from '../support/scripted-vault.ts'
import { runWrit } from '../support/serve.ts'

const root = mkdtempSync(join(tmpdir(), 'writ-doctor-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

interface Check {
  readonly check: string
  readonly verdict: 'ok' | 'warn' | 'fail'
  readonly detail: string
  readonly fix?: string
}

/** A Vault as the doctor sees it. */
interface Patient {
  readonly sealed?: boolean
  readonly clockOffBySeconds?: number
  readonly login?: 'refused'
  readonly lacking?: string
  /** Laid over what Vault says of the broker's token. */
  readonly token?: object
}

let folder: string
let vault: ScriptedVault | undefined
let count = 0
beforeEach(() => {
  count += 1
  folder = join(root, String(count))
  mkdirSync(join(folder, 'policies'), { recursive: true })
  writeFileSync(join(folder, 'token'), 'vault-secret-token', { mode: 0o600 })
  writeFileSync(join(folder, 'policies/all.yaml'), policies())
})
afterEach(async () => {
  await vault?.stop()
  vault = undefined
})

async function startVault(patient: Patient = {}): Promise<string> {
  vault = await scriptedVault((response, request) => {
    const path = request.url.replace('/v1/', '')
    if (path.startsWith('sys/health')) {
      const seconds = Math.floor(Date.now() / 1000) + (patient.clockOffBySeconds ?? 0)
      const body = {
        initialized: true,
        sealed: patient.sealed === true,
        standby: false,
        version: '2.5.5',
        server_time_utc: seconds,
      }
      return json(patient.sealed ? 503 : 200, body)(response, request)
    }
    if (patient.login === 'refused') return json(403, { errors: ['permission denied'] })(response, request)
    if (path === 'sys/capabilities-self') {
      const { paths } = JSON.parse(request.body) as { paths: string[] }
      const held = (name: string) =>
        name === patient.lacking ? ['deny'] : ['create', 'read', 'update', 'list', 'sudo']
      return json(200, { data: Object.fromEntries(paths.map((name) => [name, held(name)])) })(response, request)
    }
    const token = { ttl: 3600, creation_ttl: 3600, period: 3600, renewable: true, ...patient.token }
    return json(200, { data: token, auth: renewed })(response, request)
  })
  return vault.address
}

const renewed = { client_token: 'vault-secret-token', lease_duration: 3600, renewable: true, policies: [] }

async function doctor(over: Record<string, unknown> = {}, env: Record<string, string> = {}) {
  const config = {
    url: 'https://writ.example.com',
    vault: { address: vault?.address ?? 'http://127.0.0.1:1', auth: { method: 'token', tokenFile: 'token' } },
    ...over,
  }
  writeFileSync(join(folder, 'writ.yaml'), stringify(config))
  const exit = await runWrit(['doctor', '--config', join(folder, 'writ.yaml'), '--json'], { env })
  const { ok, checks } = JSON.parse(exit.stdout) as { ok: boolean; checks: Check[] }
  expect(exit.code).toBe(ok ? 0 : 1)
  expect(ok).toBe(!checks.some(({ verdict }) => verdict === 'fail'))
  for (const { verdict, fix } of checks) expect(fix === undefined).toBe(verdict === 'ok')
  expect(exit.stdout + exit.stderr).not.toContain('vault-secret-token')
  return (name: string): Check[] => checks.filter(({ check }) => check === name)
}

describe('writ doctor', () => {
  it('finds nothing where all is well', async () => {
    await startVault()
    const found = await doctor()
    for (const name of ['configuration', 'policies', 'ledger folder', 'ledger key', 'vault', 'clock', 'vault login']) {
      expect(found(name), name).toMatchObject([{ verdict: 'ok' }])
    }
    expect(found('vault permissions')).toMatchObject([{ verdict: 'ok' }])
    expect(found('issuer cluster')).toMatchObject([{ verdict: 'ok', detail: '1 key' }])
    expect(found('audience')).toMatchObject([{ verdict: 'ok' }])
  })

  it('names every problem of the configuration where it stands', async () => {
    const found = await doctor({ lisen: 1, ledger: { kind: 'redis' } })
    expect(found('configuration')).toMatchObject([
      { verdict: 'fail', detail: expect.stringContaining('unknown key lisen'), fix: 'did you mean listen?' },
      { verdict: 'fail', detail: expect.stringContaining('not in this version yet'), fix: 'use file' },
    ])
  })

  it('names a policy that cannot be loaded, and goes on with the rest', async () => {
    writeFileSync(join(folder, 'policies/all.yaml'), `${policies()}---\nkind: Team\nnme: x\n`)
    await startVault()
    const found = await doctor()
    expect(found('policies')[0]).toMatchObject({ verdict: 'fail', detail: expect.stringContaining('all.yaml:') })
    expect(found('vault login')).toMatchObject([{ verdict: 'ok' }])
  })

  it.each([
    ['cannot be reached', {}, false],
    ['is sealed', { sealed: true }, true],
  ])('says that Vault %s', async (said, patient, up) => {
    if (up) await startVault(patient)
    const found = await doctor()
    expect(found('vault')).toMatchObject([{ verdict: 'fail', detail: expect.stringContaining(said) }])
    expect(found('vault login')).toEqual([])
  })

  it('says that Vault does not let the broker in', async () => {
    await startVault({ login: 'refused' })
    const found = await doctor()
    expect(found('vault login')).toMatchObject([{ verdict: 'fail', fix: expect.stringContaining('live token') }])
  })

  it('says why a batch token is refused', async () => {
    await startVault({ token: { type: 'batch' } })
    expect((await doctor())('vault login')).toMatchObject([
      { verdict: 'fail', detail: expect.stringContaining('batch') },
    ])
  })

  it('warns of a token that ends, and all credentials with it', async () => {
    await startVault({ token: { period: 0, renewable: false } })
    expect((await doctor())('vault token life')).toMatchObject([
      { verdict: 'warn', detail: expect.stringContaining('ends with it'), fix: expect.stringContaining('periodic') },
    ])
  })

  it('tells which Vault tokens the broker that runs here keeps, and how many grants hang on each', async () => {
    await startVault()
    const at = '2026-11-22T12:00:00.000Z'
    const token = { generation: 4, current: false, grants: 12, logged_in_at: at, expires_at: at, ends_at: at }
    const broker = await scriptedVault(
      json(200, {
        ready: true,
        draining: false,
        issuers: [],
        vault: {
          ready: true,
          problem: null,
          tokens: [token, { ...token, generation: 5, current: true, grants: 0, expires_at: null, ends_at: null }],
        },
        ledger: { ready: true, problem: null, size: 1 },
        state: { ready: true, problem: null },
        policy: { digest: 'a'.repeat(64), loaded_at: at, workloads: 1, refused: null },
      }),
    )
    try {
      const found = await doctor({ listen: { port: Number(new URL(broker.address).port) } })
      expect(found('vault token 4')).toMatchObject([
        { verdict: 'ok', detail: expect.stringMatching(/kept for its leases, 12 live grants, .* at the latest/) },
      ])
      expect(found('vault token 5')).toMatchObject([
        { detail: expect.stringMatching(/mints, 0 live grants, .* not end/) },
      ])
    } finally {
      await broker.stop()
    }
  })

  it('writes out the line that the Vault policy lacks', async () => {
    await startVault({ lacking: 'database/creds/orders-ro' })
    const found = await doctor()
    expect(found('vault permission')).toMatchObject([
      {
        verdict: 'fail',
        fix: 'add to the Vault policy of the broker: path "database/creds/orders-ro" { capabilities = ["read"] }',
      },
    ])
  })

  it.each([
    [3600, 'behind'],
    [-3600, 'ahead of'],
  ])('sees a clock that is off by %i s', async (clockOffBySeconds, said) => {
    await startVault({ clockOffBySeconds })
    expect((await doctor())('clock')).toMatchObject([{ verdict: 'fail', detail: expect.stringContaining(said) }])
  })

  it('sees that tokens are meant for somebody else', async () => {
    await startVault()
    const found = await doctor({ url: 'https://other.example.com' })
    expect(found('audience')).toMatchObject([
      { verdict: 'warn', detail: expect.stringContaining('cluster (https://writ.example.com)') },
    ])
  })

  it('sees keys that others can read, and a folder that is none', async () => {
    await startVault()
    writeFileSync(join(folder, 'ledger.key'), 'x')
    chmodSync(join(folder, 'ledger.key'), 0o644)
    chmodSync(join(folder, 'token'), 0o644)
    const found = await doctor({ ledger: { dir: './token/ledger', keyFile: './ledger.key' } })
    expect(found('ledger key')).toMatchObject([{ verdict: 'fail', fix: expect.stringContaining('chmod 600') }])
    expect(found('ledger folder')).toMatchObject([{ verdict: 'fail', detail: expect.stringContaining('not a folder') }])
    expect(found('vault token')).toMatchObject([{ verdict: 'warn', fix: expect.stringContaining('chmod 600') }])
  })

  it('sees files that are not there', async () => {
    await startVault()
    const auth = { method: 'approle', roleIdFile: 'role', secretIdFile: 'secret' }
    const tls = { cert: 'cert.pem', key: 'key.pem' }
    const found = await doctor({ listen: { tls }, vault: { address: vault?.address, auth } })
    for (const name of ['vault role id', 'vault secret id', 'certificate', 'certificate key']) {
      expect(found(name), name).toMatchObject([{ verdict: 'fail', detail: expect.stringContaining('does not exist') }])
    }
  })

  it('warns of a slip in a variable', async () => {
    await startVault()
    const found = await doctor({}, { WRIT_LISTEN_PROT: '1' })
    expect(found('configuration')[1]).toMatchObject({
      verdict: 'warn',
      detail: expect.stringContaining('WRIT_LISTEN_PORT'),
    })
  })

  it('prints for people what to do, one line below what is wrong', async () => {
    writeFileSync(join(folder, 'writ.yaml'), 'lisen: 1\n')
    const exit = await runWrit(['doctor', '--config', join(folder, 'writ.yaml')])
    expect(exit.code).toBe(1)
    expect(exit.stdout).toMatch(/^FAIL {2}configuration: .*unknown key lisen\n {6}fix: did you mean listen\?$/m)
  })
})

describe('writ doctor --health', () => {
  const health = (port: number) => {
    const vault = { address: 'http://vault', auth: { method: 'token', tokenFile: 'token' } }
    writeFileSync(join(folder, 'writ.yaml'), stringify({ listen: { host: '0.0.0.0', port }, vault }))
    return runWrit(['doctor', '--health'], { env: { WRIT_CONFIG: join(folder, 'writ.yaml') } })
  }

  it.each([
    [200, 0],
    [503, 5],
  ])('an answer of %i exits %i', async (status, code) => {
    const asked: (string | undefined)[] = []
    const server = createServer((request, response) => {
      asked.push(request.url)
      response.writeHead(status).end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    expect((await health((server.address() as AddressInfo).port)).code).toBe(code)
    expect(asked).toEqual(['/healthz'])
    server.close()
  })

  it('exits 5 when nothing listens', async () => {
    expect(await health(await freePort())).toMatchObject({ code: 5, stderr: 'the broker does not answer\n' })
  })
})

function policies(): string {
  const jwk = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' })
  const documents = [
    {
      kind: 'Issuer',
      name: 'cluster',
      url: 'https://cluster.example.com',
      audience: 'https://writ.example.com',
      algorithms: ['ES256'],
      keys: { jwks: { keys: [{ ...jwk, kid: '1', alg: 'ES256', use: 'sig' }] } },
      environment: 'staging',
    },
    ...['payments', 'platform'].map((name) => ({
      kind: 'Team',
      name,
      contact: { email: `${name}@example.com` },
      members: [{ issuer: 'cluster', subject: `someone@${name}` }],
    })),
    {
      kind: 'Credential',
      name: 'orders-ro',
      engine: 'database',
      mount: 'database',
      role: 'orders-ro',
      environment: 'staging',
      sensitivity: 'low',
      data: ['orders'],
      ttl: { max: '1h' },
    },
    {
      kind: 'Workload',
      name: 'checkout',
      type: 'service',
      system: 'orders',
      owner: 'payments',
      backup: 'platform',
      custodian: 'platform',
      status: 'active',
      match: { issuer: 'cluster', claims: { sub: 'checkout' } },
      purposes: [
        {
          id: 'read-orders',
          because: 'Show customers their orders',
          environment: 'staging',
          credentials: ['orders-ro'],
          ttl: { default: '15m', max: '1h' },
        },
      ],
    },
  ]
  return documents.map((document) => stringify(document)).join('---\n')
}
