import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { Secret } from '../../src/base/secret.ts'
import { createVaultSession, type VaultSession } from '../../src/engines/vault-session.ts'
import { freePort } from '../support/child.ts'
import { type Answer, hangUp, json, type ScriptedVault, scriptedVault } from '../support/scripted-vault.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

async function serve(answer: Answer): Promise<ScriptedVault> {
  const server = await scriptedVault(answer)
  stops.push(server.stop)
  return server
}

function open(...address: string[]): VaultSession {
  const auth = { method: 'token', token: new Secret('canary') } as const
  const session = createVaultSession({ address, auth, clock: systemClock, log: silentLog })
  stops.unshift(session.close)
  return session
}

const health = (over: object = {}): Answer =>
  json(200, { initialized: true, sealed: false, standby: false, version: '2.5.5', server_time_utc: 1, ...over })
const well: Answer = (response, request) =>
  (request.url.endsWith('/sys/health') ? health() : json(200, { data: { ok: true } }))(response, request)
const calls = (server: ScriptedVault): number => server.seen.filter(({ url }) => !url.endsWith('/sys/health')).length
const mint = (session: VaultSession) => session.read('database/creds/ro', { mints: true })

test.each([
  ['cannot be reached', undefined],
  ['is sealed', json(503, { errors: ['Vault is sealed'] })],
  ['is a standby that names the leader', json(307, { errors: [] }, { location: 'http://127.0.0.1:1/v1/x' })],
  ['knows no leader', json(500, { errors: ['local node not active but active cluster node not found'] })],
] as const)('a mint goes to the next server when the first %s, and so does what follows', async (_, answer) => {
  const first = answer === undefined ? undefined : await serve(answer)
  const second = await serve(well)
  const session = open(first?.address ?? `http://127.0.0.1:${await freePort()}`, second.address)
  expect((await mint(session)).data).toEqual({ ok: true })
  expect((await mint(session)).data).toEqual({ ok: true })
  expect(calls(second)).toBe(2)
  if (first !== undefined) expect(calls(first)).toBe(1)
})

test.each([
  ['breaks off', hangUp],
  ['fails in the middle of passing it on', json(500, { errors: ['error during forwarding RPC request'] })],
] as const)('a mint that a server %s goes to no other, and its outcome is not known', async (_, answer) => {
  const first = await serve(answer)
  const second = await serve(well)
  await expect(mint(open(first.address, second.address))).rejects.toMatchObject({ ambiguous: true })
  expect(calls(second)).toBe(0)
})

test('a call that a server leaves unanswered goes to no other, and the next one does not wait for that server again', async () => {
  const first = await serve(() => {})
  const second = await serve(well)
  const session = open(first.address, second.address)
  const revoke = () => session.write('sys/leases/revoke', { lease_id: 'x', sync: true }, { deadlineMs: 200 })
  await expect(revoke()).rejects.toMatchObject({ kind: 'timeout' })
  expect(calls(second)).toBe(0)
  expect((await revoke()).data).toEqual({ ok: true })
  expect(calls(first)).toBe(1)
})

test('a refusal is an answer: it is not asked for again elsewhere', async () => {
  const first = await serve(json(400, { errors: ['no'] }))
  const second = await serve(well)
  await expect(mint(open(first.address, second.address))).rejects.toMatchObject({ kind: 'rejected' })
  expect(calls(second)).toBe(0)
})

test('when none can work the fault is that of the last, and health is found where there is any', async () => {
  const sealed: Answer = (response, request) =>
    (request.url.endsWith('/sys/health') ? health({ sealed: true }) : json(503, { errors: ['Vault is sealed'] }))(
      response,
      request,
    )
  const first = await serve(sealed)
  const none = open(first.address, `http://127.0.0.1:${await freePort()}`)
  await expect(mint(none)).rejects.toMatchObject({ code: 'vault_unavailable' })
  expect((await none.health()).reachable).toBe(true)
  const second = await serve(well)
  const session = open(first.address, second.address)
  expect(await session.health()).toMatchObject({ reachable: true, sealed: false })
  const before = calls(first)
  await mint(session)
  expect(calls(first)).toBe(before)
})
