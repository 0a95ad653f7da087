import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import type { Config } from '../../src/config/config.ts'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import { openFileLedger } from '../../src/ledger/store/file.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { startWorld, type World } from '../support/broker.ts'
import { eventually } from '../support/child.ts'
import { endedEntry, intentEntry, issuedEntry, loadedEntry } from '../support/entries.ts'

let world: World
let ledger: Config['ledger']
let archive: string
let vkey: string
beforeAll(async () => {
  world = await startWorld({
    broker: false,
    config(given) {
      archive = join(given.ledger.dir, '..', 'archive')
      ledger = { ...given.ledger, archive }
      return { ...given, ledger }
    },
  })
  await fill(400)
  await world.restart()
})
afterAll(() => world?.stop())

/** What a broker left behind that has run for long: grants that have ended, most of them in full bundles that no segment holds. */
async function fill(grants: number): Promise<void> {
  const { dir, origin, keyFile } = ledger
  const key = await openLedgerKey({ file: keyFile, origin, create: true })
  vkey = key.vkey
  const opened = await openFileLedger({
    dir,
    origin,
    key,
    clock: systemClock,
    log: silentLog,
    segmentBytes: 20_000,
  })
  await opened.append(loadedEntry)
  const grant = async (n: number): Promise<void> => {
    await opened.append(intentEntry(n))
    await opened.append(Object.assign(issuedEntry(n), { expires: new Date(Date.now() + 60_000).toISOString() }))
    await opened.append(endedEntry(n))
  }
  for (let n = 0; n < grants; n += 50) await Promise.all(Array.from({ length: 50 }, (_, i) => grant(n + i)))
  const firstSegment = async () => Number((await readdir(join(dir, 'segments'))).sort()[0]?.slice(0, 20))
  await eventually(async () => ((await firstSegment()) >= 768 ? true : undefined), 'that segments have gone')
  await opened.close()
}

const order = (as: string, before: number | string) => world.api('POST', '/v1/ledger/archive', { as, body: { before } })
const bundlesIn = async (dir: string): Promise<string[]> =>
  (await readdir(join(dir, 'tile/entries')).catch(() => [])).filter((name) => /^\d{3}$/.test(name)).sort()
const verify = (over: { readonly archives?: readonly string[]; readonly skipArchived?: boolean } = {}) =>
  verifyLedger({ dir: ledger.dir, vkey, ...over })

test('nobody but an operator has entries moved, and a refusal moves nothing', async () => {
  for (const as of ['checkout', 'alice@payments', 'carol@platform', 'erin@sre', 'coding-agent']) {
    expect(await order(as, 600), as).toMatchObject({ status: 403, body: { code: 'role_required' } })
  }
  for (const before of [-1, 1.5, 'yesterday']) {
    expect(await order('dana@security', before)).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
  }
  expect((await world.api('POST', '/v1/ledger/archive', { body: { before: 600 } })).status).toBe(401)
  expect(await bundlesIn(archive)).toEqual([])
  expect(await world.entries({ kind: 'config.archived' })).toEqual([])
})

test('what an operator has moved is on record, stays readable with its proof, and the two folders verify together', async () => {
  const [first] = await world.entries({ grant: String(intentEntry(3).grant) })
  expect(await order('dana@security', 600)).toMatchObject({ status: 200, body: { from: 0, to: 512, bundles: 2 } })
  expect(await bundlesIn(archive)).toEqual(['000', '001'])
  expect((await bundlesIn(ledger.dir))[0]).toBe('002')

  const records = await world.entries({ kind: 'config.archived' })
  expect(records).toMatchObject([{ from: 0, to: 512, bundles: 2, destination: archive, actor: { type: 'person' } }])
  expect(await world.entries({ grant: String(intentEntry(3).grant) })).toContainEqual(first)
  const dana = { as: 'dana@security' }
  expect((await world.api('GET', '/v1/ledger/entries/7', dana)).body.entry).toMatchObject({ kind: 'grant.intent' })
  expect((await world.api('GET', '/v1/ledger/entries/7/receipt', dana)).text).toContain('\nindex 7\n')
  expect((await world.api('GET', '/log/tile/entries/000', dana)).status).toBe(200)

  expect(await order('dana@security', 600)).toMatchObject({ status: 200, body: { from: 512, to: 512, bundles: 0 } })
  expect(await order('dana@security', new Date(Date.now() + 60_000).toISOString())).toMatchObject({
    status: 200,
    body: { from: 512 },
  })

  await world.restart()
  expect((await world.api('GET', '/v1/ledger/entries/7', dana)).status).toBe(200)
  await world.stopBroker()
  const whole = await verify({ archives: [archive] })
  expect(whole).toMatchObject({ ok: true, problems: [], skipped: 0, unsigned: 0 })
  expect(whole.entries).toBe(whole.signed?.size)
  const alone = await verify()
  expect(alone.ok).toBe(false)
  expect(alone.problems).toContainEqual(expect.objectContaining({ rule: 'archive', index: 0 }))
  const hashesAlone = await verify({ skipArchived: true })
  expect(hashesAlone).toMatchObject({ ok: true })
  expect(hashesAlone.skipped).toBeGreaterThanOrEqual(512)
})
