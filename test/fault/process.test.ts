import { once } from 'node:events'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { startWorld, type World } from '../support/broker.ts'
import { callApi } from '../support/call-api.ts'
import { eventually } from '../support/child.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { runWrit, type ServeFolder, serveFolder, startServe } from '../support/serve.ts'

let world: World
let proxy: TcpProxy
const folders: ServeFolder[] = []
beforeAll(async () => {
  world = await startWorld({ broker: false })
  proxy = await startProxy(world.stack.vault.address)
})
afterAll(async () => {
  for (const folder of folders) await folder.close()
  await world?.stop()
  await proxy?.stop()
})

async function fresh(over: Parameters<typeof serveFolder>[2] = {}): Promise<ServeFolder> {
  const folder = await serveFolder(world.stack, world.policies.dir, over)
  folders.push(folder)
  return folder
}
const post = async (url: string, path: string, as: string, body: object = {}) =>
  callApi(url, 'POST', path, { token: await world.token(as), body })

test('SIGTERM finishes what is under way, leaves grants as they are, and exits 0 within ten seconds', async () => {
  const auth = { method: 'token', tokenFile: './vault-token' }
  const folder = await fresh({ vault: { address: proxy.url, auth } })
  const serving = await startServe(folder)
  const { body: held } = await post(serving.url, '/v1/credentials', 'checkout', { purpose: 'read-orders' })
  proxy.only((head) => head.includes('/v1/database/creds/'))
  proxy.set({ delayMs: 700 })
  const underWay = post(serving.url, '/v1/credentials', 'checkout', { purpose: 'read-orders' })
  await eventually(async () => (proxy.met > 0 ? true : undefined), 'a mint is under way')
  const toldMs = Date.now()
  serving.signal('SIGTERM')
  const answer = await underWay
  expect(answer.status).toBe(201)
  const exit = await serving.exited
  proxy.set('pass')
  expect(exit).toMatchObject({ code: 0, signal: null })
  expect(Date.now() - toldMs).toBeLessThan(10_000)
  expect(await world.login(held.secret)).toBe('in')
  expect(await world.login(answer.body.secret)).toBe('in')
  const report = await verifyLedger({ dir: folder.ledger, vkey: await folder.vkey() })
  expect(report).toMatchObject({ ok: true, unsigned: 0, problems: [] })

  const again = await startServe(folder)
  const ended = await post(again.url, `/v1/grants/${held.grant}/revoke`, 'checkout')
  expect(ended.body.outcome).toBe('revoked')
  expect(await world.login(held.secret)).toMatch(/^28/)
  again.signal('SIGINT')
  expect(await again.exited).toMatchObject({ code: 0 })
})

test('a caller that hangs does not hold up the end', async () => {
  const auth = { method: 'token', tokenFile: './vault-token' }
  const folder = await fresh({ vault: { address: proxy.url, auth }, limits: { drainTimeout: '1s' } })
  const serving = await startServe(folder)
  proxy.only((head) => head.includes('/v1/database/creds/'))
  proxy.set('stall')
  const underWay = post(serving.url, '/v1/credentials', 'checkout', { purpose: 'read-orders' }).catch(() => undefined)
  await eventually(async () => (proxy.met > 0 ? true : undefined), 'a mint is under way')
  const toldMs = Date.now()
  serving.signal('SIGTERM')
  const exit = await serving.exited
  expect(Date.now() - toldMs).toBeLessThan(10_000)
  expect(exit).toMatchObject({ code: 0 })
  await underWay
  proxy.set('pass')
})

test('a second broker on the same ledger is refused in words, and the first goes on', async () => {
  const folder = await fresh()
  const first = await startServe(folder)
  const second = await runWrit(['serve', '--config', folder.config], { cwd: folder.dir })
  expect(second.code).toBe(1)
  expect(second.stderr).toMatch(/ledger/)
  expect(second.stderr).toMatch(/another|in use|locked|already/)
  expect(second.stdout).not.toContain('listening')
  const { status } = await post(first.url, '/v1/credentials', 'checkout', { purpose: 'read-orders' })
  expect(status).toBe(201)
  first.signal('SIGTERM')
  await first.exited
})

test('a port that is taken, a folder that cannot be written, policies that are wrong: one sentence and no half start', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  const onPort = await fresh({ listen: { host: '127.0.0.1', port } })
  const portTaken = await runWrit(['serve', '--config', onPort.config], { cwd: onPort.dir })
  expect(portTaken.code).toBe(1)
  expect(portTaken.stderr).toMatch(/the port is taken/)
  taken.close()

  // A file where the folder should be: not even root can write there.
  const noFolder = await fresh()
  await writeFile(join(noFolder.dir, 'data'), 'not a folder')
  const unwritable = await runWrit(['serve', '--config', noFolder.config], { cwd: noFolder.dir })
  expect(unwritable.code).toBe(1)
  expect(unwritable.stderr).toMatch(/cannot start/)
  expect(unwritable.stderr).toMatch(/data/)

  const badPolicies = await fresh()
  await writeFile(join(badPolicies.policies, 'workloads', 'checkout.yaml'), 'kind: Workload\nname: [')
  const refused = await runWrit(['serve', '--config', badPolicies.config], { cwd: badPolicies.dir })
  expect(refused.code).toBe(1)
  expect(refused.stderr).toMatch(/checkout\.yaml:\d+:\d+/)

  const badConfig = await fresh()
  await writeFile(badConfig.config, `${await readFile(badConfig.config, 'utf8')}colour: blue\n`)
  const unknownKey = await runWrit(['serve', '--config', badConfig.config], { cwd: badConfig.dir })
  expect(unknownKey.code).toBe(2)
  expect(unknownKey.stderr).toMatch(/colour/)
  for (const { stdout, stderr } of [portTaken, unwritable, refused, unknownKey]) {
    expect(stdout).not.toContain('listening')
    expect(stderr).not.toMatch(/^\s+at /m)
  }
})

test('a key that others can read is not used', async () => {
  const folder = await fresh()
  const once = await startServe(folder)
  once.signal('SIGTERM')
  await once.exited
  await chmod(join(folder.dir, 'data', 'ledger.key'), 0o644)
  const refused = await runWrit(['serve', '--config', folder.config], { cwd: folder.dir })
  expect(refused.code).toBe(1)
  expect(refused.stderr).toMatch(/chmod 600/)
})

test('SIGHUP loads policies anew, and a bad set leaves the old one in force', async () => {
  const folder = await fresh()
  const serving = await startServe(folder)
  const digest = async (): Promise<unknown> => {
    const { body } = await callApi(serving.url, 'GET', '/readyz')
    return body.policy
  }
  const before = (await digest()) as { digest: string }
  const file = join(folder.policies, 'workloads', 'checkout.yaml')
  const good = await readFile(file, 'utf8')
  await writeFile(file, 'kind: Workload\n')
  serving.signal('SIGHUP')
  await eventually(async () => {
    const now = (await digest()) as { digest: string; refused: unknown }
    return now.refused !== null && now.digest === before.digest ? true : undefined
  }, 'the bad set is refused')
  await writeFile(file, good.replace('max: 1h', 'max: 45m'))
  serving.signal('SIGHUP')
  await eventually(async () => {
    const now = (await digest()) as { digest: string; refused: unknown }
    return now.refused === null && now.digest !== before.digest ? true : undefined
  }, 'the good set is in force')
  serving.signal('SIGTERM')
  expect((await serving.exited).code).toBe(0)
})

test('a key that is made is closed to others', async () => {
  const folder = await fresh({ ledger: { dir: './deep/er/ledger', keyFile: './deep/keys/ledger.key' } })
  const serving = await startServe(folder)
  serving.signal('SIGTERM')
  expect((await serving.exited).code).toBe(0)
  for (const name of ['ledger.key', 'seal.key']) {
    expect((await stat(join(folder.dir, 'deep/keys', name))).mode & 0o777, name).toBe(0o600)
  }
})
