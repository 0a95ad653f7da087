import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startDevVault } from '../../src/dev/vault/server.ts'
import { baoAvailable, startBao } from '../support/bao.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import * as script from './vault-script.ts'

interface Server {
  readonly address: string
  readonly rootToken: string
  stop(): Promise<void>
}

// What is random, a moment, or the name of the build. Everything else must be the same.
const vague: readonly [RegExp, string][] = [
  [/vault:v(\d+):[A-Za-z0-9+/_-]+={0,2}/g, 'vault:v$1:<signature>'],
  [/AAAA[A-Za-z0-9+/=]{20,}/g, '<key>'],
  [/-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----\n?/g, '<pem $1>'],
  [/\b(?:[0-9a-f]{2}:){15,19}[0-9a-f]{2}\b/g, '<serial>'],
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, '<uuid>'],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, '<time>'],
  [/s\.[A-Za-z0-9]{24}/g, '<token>'],
  [/v-[a-z0-9-]+-[A-Za-z0-9]{20}-\d{10}/g, '<user>'],
  [/(?<![A-Za-z0-9])[A-Za-z0-9]{24}(?![A-Za-z0-9])/g, '<random>'],
  [/\b(?:[a-z_]+)_[0-9a-f]{8}\b/g, '<accessor>'],
  // What follows are the words of the database driver.
  [/error verifying connection: .*/g, 'error verifying connection: <why>'],
  [/failed to execute query: .*/g, 'failed to execute query: <why>'],
]
const vagueFields: Readonly<Record<string, string>> = {
  password: '<password>',
  cluster_name: '<name>',
  version: '<version>',
  public_key: '<key>',
  serial_number: '<serial>',
  expiration: '<time>',
  not_before: '<time>',
  revocation_time: '<time>',
  creation_time: '<time>',
  server_time_utc: '<time>',
  deprecation_status: '<left out>',
  // Real ones count down while the script runs.
  ttl: '<seconds>',
  lease_duration: '<seconds>',
}

// Said on top of the real one's words.
const ownWords = /^this development server does not serve it/

function normal(value: unknown, name = ''): unknown {
  if (name === 'warnings') return Array.isArray(value) ? '<warnings>' : null
  if (vagueFields[name] !== undefined && value !== null && typeof value !== 'object') return vagueFields[name]
  if (typeof value === 'string') {
    let text = value
    for (const [pattern, stand] of vague) text = text.replace(pattern, stand)
    return text
  }
  if (Array.isArray(value)) return value.filter((item) => !ownWords.test(String(item))).map((item) => normal(item))
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value).filter(([key]) => key !== 'deprecation_status')
  return Object.fromEntries(entries.map(([key, item]) => [key, normal(item, key)]))
}

const at = (value: unknown, path: string): unknown =>
  path.split('.').reduce<unknown>((part, key) => (part as Record<string, unknown> | undefined)?.[key], value)

/** Plays a script to one server and gives, for each step, what any server of this kind must answer. */
async function play(server: Server, steps: readonly script.Step[]): Promise<unknown[]> {
  const kept = new Map<string, string>()
  const fill = (text: string): string => text.replace(/\{([a-z]+)\}/g, (whole, name) => kept.get(name) ?? whole)
  const answers: unknown[] = []
  for (const step of steps) {
    const token = step.token === undefined ? server.rootToken : fill(step.token)
    const body = step.body === undefined ? undefined : fill(JSON.stringify(step.body))
    const response = await fetch(`${server.address}/v1/${fill(step.path)}`, {
      method: step.method,
      headers: { ...(token === '' ? {} : { 'x-vault-token': token }), ...step.headers },
      ...(body === undefined ? {} : { body }),
    })
    const text = await response.text()
    const parsed: unknown = text === '' ? undefined : JSON.parse(text)
    for (const [name, path] of Object.entries(step.keep ?? {})) kept.set(name, String(at(parsed, path)))
    answers.push({ asked: `${step.method} ${step.path}`, status: response.status, body: normal(parsed) })
  }
  return answers
}

describe.skipIf(!baoAvailable())('needs bao on PATH: the development server answers as the real one', () => {
  let real: Server
  let ours: Server
  let postgres: TestPostgres

  beforeAll(async () => {
    const started = await Promise.all([
      startBao({ mode: 'dev' }),
      startDevVault({ rootToken: 'test-root' }),
      startPostgres(),
    ])
    real = started[0]
    ours = started[1]
    postgres = started[2]
  })
  afterAll(async () => {
    await Promise.all([real?.stop(), ours?.stop(), postgres?.stop()])
  })

  const compare = async (steps: readonly script.Step[]): Promise<void> => {
    const [expected, actual] = [await play(real, steps), await play(ours, steps)]
    expect(actual).toEqual(expected)
  }

  test('about itself, mounts and leases that are not there', () => compare(script.system))
  test('about tokens', () => compare(script.tokens))
  test('about token roles', () => compare(script.tokenRoles))
  test('about policies, and refuses what they refuse', () => compare(script.policies))
  test('about AppRole', () => compare(script.appRole))
  test('about wrapped responses', () => compare(script.wrapping))
  test('about key/value secrets', () => compare(script.keyValue))
  test('about certificates', async () => compare(script.certificates(await script.csrFor('b.svc.example'))))
  test('about signing', () => compare(script.signing))
  test('about SSH certificates', () => compare(script.sshCertificates))
  test('about database users, and those of static roles', async () => {
    const client = new pg.Client({ connectionString: postgres.adminUrl })
    await client.connect()
    await client.query('CREATE ROLE stays LOGIN')
    await client.end()
    const url = new URL(postgres.adminUrl)
    return compare(
      script.databaseUsers({
        connection_url: `postgresql://{{username}}:{{password}}@${url.host}${url.pathname}?sslmode=disable`,
        username: url.username,
        password: postgres.adminPassword,
      }),
    )
  })
})
