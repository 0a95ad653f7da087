import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startWorld, type World } from '../support/broker.ts'
import { type Answer, type Call, callApi } from '../support/call-api.ts'
import { type Finding, filesBelow, findSecrets, formsOf, type Sink } from '../support/canaries.ts'
import { eventually } from '../support/child.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { runWrit, type ServeFolder, type Serving, serveFolder, startServe } from '../support/serve.ts'

const canary = (what: string): string => `canary-${what}-Zq7/x+9 ü`
const secrets = new Map<string, string>()
const sinks: Sink[] = []

let world: World
let proxy: TcpProxy
let collector: Server
let folder: ServeFolder
let serving: Serving
const spans: Buffer[] = []

/** Remembers a secret under a label that says what it is. */
function secret(label: string, value: unknown): void {
  if (typeof value === 'string' && value.length >= 8) secrets.set(`${label} #${secrets.size}`, value)
}

/** A token with a canary among its claims; the token as a whole and its signature are secrets as well. */
async function token(as: string, claims = {}, ttlSeconds?: number): Promise<string> {
  const made = await world.token(as, { note: canary(`claim-of-${as}`), ...claims }, ttlSeconds)
  secret('token', made)
  secret('signature of a token', made.split('.')[2])
  return made
}

/** Calls the broker and keeps every answer but those that are meant to hold a secret. */
async function call(method: string, path: string, options: Call = {}): Promise<Answer> {
  const answer = await callApi(serving.url, method, path, options)
  for (const [field, value] of Object.entries(answer.body.secret ?? {})) {
    if (!['username', 'serial_number', 'accessor', 'creation_path', 'creation_time'].includes(field))
      secret(`secret.${field}`, value)
  }
  if (answer.status !== 201 || answer.body.secret === undefined) {
    const head = JSON.stringify([...answer.headers])
    sinks.push({ name: `answer to ${method} ${path}: ${answer.status}`, bytes: Buffer.from(head + answer.text) })
  }
  return answer
}
const issue = async (as: string, body: object, claims = {}): Promise<Answer> =>
  call('POST', '/v1/credentials', { token: await token(as, claims), body })

/** Runs the command line; what it prints on purpose is the secret, so only stderr is a sink where it was asked for one. */
async function cli(args: readonly string[], as: string, printsSecret = false): Promise<void> {
  const env = { WRIT_URL: serving.url, WRIT_TOKEN: await token(as) }
  const { stdout, stderr } = await runWrit(args, { env })
  sinks.push({ name: `stderr of writ ${args.join(' ')}`, bytes: Buffer.from(stderr) })
  if (!printsSecret) return void sinks.push({ name: `stdout of writ ${args.join(' ')}`, bytes: Buffer.from(stdout) })
  const { secret: printed } = JSON.parse(stdout) as { secret: Record<string, string> }
  secret('secret of writ get', printed.password)
}

beforeAll(async () => {
  world = await startWorld({
    broker: false,
    async policies({ edit }) {
      await edit('workloads/checkout.yaml', (text) => text.replace('active: 4, per_minute: 30', 'active: 100'))
    },
  })
  const { stack } = world
  proxy = await startProxy(stack.vault.address)
  collector = createServer((request, response) => {
    request.on('data', (chunk: Buffer) => spans.push(chunk))
    request.on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'))
  })
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
  const { port } = collector.address() as AddressInfo
  const auth = { method: 'token', tokenFile: './vault-token' }
  folder = await serveFolder(stack, world.policies.dir, {
    vault: { address: proxy.url, auth, timeout: '1s' },
    log: { level: 'debug' },
  })
  serving = await startServe(folder, {
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, DEBUG: '*', NODE_DEBUG: 'http' },
  })
  secret('Vault token of the broker', stack.vault.brokerToken.reveal())
  secret('Vault root token', stack.vault.token)
  secret('password of the database', decodeURIComponent(new URL(stack.postgres.url).password))
  secret('kv value', canary('kv'))
  await world.root('POST', 'secret/data/vendor/reporting', {
    data: { api_key: canary('kv'), other: canary('kv-other') },
  })
  secret('another kv value', canary('kv-other'))
  secret('claim', canary('claim-of-checkout'))
  for (const as of ['order-repair', 'nightly-report', 'coding-agent', 'shop-deploy'])
    secret('claim', canary(`claim-of-${as}`))
}, 120_000)
afterAll(async () => {
  serving?.signal('SIGKILL')
  await serving?.exited
  await folder?.close()
  await world?.stop()
  await proxy?.stop()
  collector?.close()
})

describe('with canaries planted everywhere', () => {
  test('every flow runs', async () => {
    const { body: held } = await issue('checkout', { purpose: 'read-orders' })
    for (const lease of await world.leases('orders-ro')) secret('lease id', lease)
    secret('end of a lease id', (await world.leases('orders-ro'))[0]?.split('/').at(-1))
    await call('POST', `/v1/grants/${held.grant}/renew`, { token: await token('checkout'), body: { ttl: '30m' } })
    await call('GET', `/v1/grants/${held.grant}`, { token: await token('checkout') })
    await issue('checkout', { purpose: 'read-orders', delivery: 'wrapped' })
    await issue('checkout', { purpose: 'serve-tls' })
    const { body: kv } = await issue('nightly-report', { purpose: 'export' })
    expect(kv.secret.api_key).toBe(canary('kv'))
    secret('param', canary('param'))
    const line = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1V2u5cYb1bXxS9mVf2tqg4ZkHhT0e9jW8q0sPq6m1A ${canary('param')}`
    await issue('shop-deploy', { purpose: 'deploy', params: { public_key: line } })
    const { body: task } = await call('POST', '/v1/tasks', {
      token: await token('coding-agent'),
      body: { purpose: 'fix-bug', intent: 'a look' },
    })
    await issue('coding-agent', { purpose: 'fix-bug', task: task.task })
    const wanted = { purpose: 'break-fix', reason: 'half-written' }
    const { body: asked } = await issue('order-repair', wanted)
    await call('POST', `/v1/approvals/${asked.approval}/approve`, { token: await token('alice@payments') })
    const { status } = await issue('order-repair', { ...wanted, approval: asked.approval })
    expect(status).toBe(201)
    await call('POST', `/v1/tasks/${task.task}/end`, { token: await token('coding-agent') })
    await call('POST', `/v1/grants/${held.grant}/revoke`, { token: await token('checkout') })
  })

  test('every refusal is given', async () => {
    await issue('checkout', { purpose: 'fun' })
    await issue('checkout', { purpose: 'read-orders' }, { aud: canary('audience') })
    await issue(
      'checkout',
      { purpose: 'read-orders' },
      { iss: `https://${encodeURIComponent(canary('issuer'))}.example` },
    )
    await issue('checkout', { purpose: 'read-orders' }, { exp: 1 })
    await issue('checkout', { purpose: 'read-orders', params: { key: canary('refused-param') } })
    await issue('checkout', { purpose: 'read-orders', ttl: canary('ttl') })
    await issue('checkout', { purpose: 'serve-tls', params: { csr: canary('csr') } })
    await issue('shop-deploy', { purpose: 'deploy', params: { public_key: canary('key') } })
    await issue('coding-agent', { purpose: 'investigate', reason: 'why' })
    // What a token claims to be for is text of the record, as policy explains it; what else was refused is in none.
    for (const label of ['refused-param', 'ttl', 'csr', 'key', 'body', 'query', 'path', 'bearer', 'basic']) {
      secret(`refused ${label}`, canary(label))
    }
    const valid = await token('checkout')
    await call('POST', '/v1/credentials', { token: valid, body: `{"purpose":"${canary('body')}` })
    await call('POST', '/v1/credentials', { token: valid, body: { purpose: canary('body') } })
    await call('GET', `/v1/grants?token=${encodeURIComponent(canary('query'))}`, { token: valid })
    await call('GET', `/v1/grants/${encodeURIComponent(canary('path'))}`, { token: valid })
    await call('GET', `/${encodeURIComponent(canary('path'))}`, { token: valid })
    await call('GET', '/v1/grants', { headers: { authorization: `Bearer ${encodeURIComponent(canary('bearer'))}` } })
    await call('GET', '/v1/grants', { headers: { authorization: `Basic ${encodeURIComponent(canary('basic'))}` } })
    await call('POST', '/v1/credentials', { token: `${valid.slice(0, -3)}AAA`, body: { purpose: 'read-orders' } })
    await call('POST', '/v1/policies/reload', { token: await token('alice@payments') })
  })

  test('every fault of Vault happens', async () => {
    const isMint = (head: string): boolean => head.includes('/v1/database/creds/')
    for (const weather of ['refuse', 'cut', 'stall'] as const) {
      proxy.only(weather === 'refuse' ? () => true : isMint)
      proxy.set(weather)
      const { status } = await issue('checkout', { purpose: 'read-orders' })
      expect(status, weather).toBe(503)
      for (const lease of await world.leases('orders-ro')) secret('lease id', lease)
      proxy.set('pass')
    }
    const { body } = await issue('checkout', { purpose: 'read-orders' })
    for (const lease of await world.leases('orders-ro')) secret('lease id', lease)
    proxy.only((head) => head.includes('/v1/sys/leases/revoke'))
    proxy.set('refuse')
    await call('POST', `/v1/grants/${body.grant}/revoke`, { token: await token('checkout') })
    proxy.set('pass')
    await world.root('DELETE', 'database/roles/orders-ro')
    expect((await issue('checkout', { purpose: 'read-orders' })).body.code).toBe('engine_refused')
  })

  test('the command line is used, and everything that can be read is read', async () => {
    await cli(['get', '--purpose', 'try-changes'], 'checkout-staging', true)
    await cli(['get', '--purpose', 'fun'], 'checkout')
    await cli(['grants', '--json', '--status', 'all'], 'dana@security')
    await cli(['revoke', '--all', '--reason', 'over', '--yes', '--json'], 'dana@security')
    await cli(['ledger', 'tail', '-n', '1000', '--json'], 'dana@security')
    const auditor = await token('dana@security')
    await call('GET', '/v1/ledger/entries?limit=1000', { token: auditor })
    for (const path of ['/metrics', '/readyz', '/healthz', '/openapi.json', '/docs', '/docs/errors'])
      await call('GET', path)
    await call('GET', '/v1/grants?status=all&limit=500', { token: auditor })
    await call('GET', '/v1/approvals', { token: await token('alice@payments') })
    serving.signal('SIGTERM')
    const exit = await serving.exited
    expect(exit.code).toBe(0)
    await eventually(async () => (spans.length > 0 ? true : undefined), 'spans arrive')
    sinks.push({ name: 'stdout of writ serve', bytes: Buffer.from(exit.stdout) })
    sinks.push({ name: 'stderr of writ serve', bytes: Buffer.from(exit.stderr) })
    sinks.push({ name: 'OTLP', bytes: Buffer.concat(spans) })
    sinks.push(...(await filesBelow(folder.ledger)))
  })

  test('no secret is found in any form in any place', () => {
    const found: readonly Finding[] = findSecrets(secrets, sinks)
    expect(found).toEqual([])
  })
})

describe('the search itself', () => {
  test('has something to look for, in places that hold what belongs there', () => {
    const labels = [...secrets.keys()].map((label) => label.replace(/ #\d+$/, ''))
    expect(new Set(labels)).toEqual(
      new Set(
        labels.concat([
          'token',
          'claim',
          'lease id',
          'kv value',
          'secret.password',
          'secret.token',
          'secret.private_key',
          'param',
        ]),
      ),
    )
    const named = (part: string): string =>
      sinks
        .filter(({ name }) => name.includes(part))
        .map(({ bytes }) => bytes.toString())
        .join('')
    // Each sink saw the work: what is public is there.
    expect(named('stderr of writ serve')).toContain('"event":"request"')
    expect(named('stderr of writ serve')).toContain('vault_unavailable')
    expect(named('OTLP')).toContain('engine.mint')
    expect(named(folder.ledger)).toContain('"kind":"grant.issued"')
    expect(named('GET /metrics')).toContain('writ_')
    expect(named('GET /v1/ledger/entries')).toContain('database_user')
    expect(named('stderr of writ get --purpose fun')).toContain('purpose_unknown')
  })

  test.each(['plain', 'base64 at 1', 'hexadecimal', 'JSON within JSON', 'URL'])(
    'finds a secret that leaks as %s',
    (form) => {
      const leak = formsOf(canary('leak')).find(([name]) => name === form)?.[1] ?? ''
      const bytes = Buffer.from(`{"event":"x","field":"${form.startsWith('base64') ? wrapped() : leak}"}`)
      const found = findSecrets(new Map([['leak', canary('leak')]]), [{ name: 'a log', bytes }])
      expect(found.map((each) => each.form)).toContain(form)
    },
  )
  // As a token or a sealed box would hold it: somewhere within what was encoded.
  const wrapped = (): string => Buffer.from(`x${canary('leak')} and more`).toString('base64')
})
