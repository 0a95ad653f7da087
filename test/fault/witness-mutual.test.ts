import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { openCheckpoint } from '../../src/ledger/log/checkpoint.ts'
import { cosignaturesOf, parseWitnessVkey } from '../../src/ledger/log/cosignature.ts'
import { parseVkey } from '../../src/ledger/log/note.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { startWorld, type World } from '../support/broker.ts'
import { callApi } from '../support/call-api.ts'
import { eventually } from '../support/child.ts'
import {
  runWrit,
  type ServeFolder,
  type Serving,
  serveFolder,
  spawnWrit,
  startServe,
  type WritProcess,
} from '../support/serve.ts'

let world: World
const folders: ServeFolder[] = []
const witnesses: WritProcess[] = []
beforeAll(async () => {
  world = await startWorld({ broker: false })
})
afterAll(async () => {
  for (const witness of witnesses) witness.signal('SIGKILL')
  for (const folder of folders) await folder.close()
  await world?.stop()
})

/** One of two installations: `writ serve` with a ledger of its own, and `writ witness` for that of the other. */
interface Installation {
  readonly folder: ServeFolder
  readonly vkey: string
}

async function install(name: string): Promise<Installation> {
  const ledger = { dir: './data/ledger', keyFile: './data/ledger.key', origin: `${name}.example/ledger` }
  const folder = await serveFolder(world.stack, world.policies.dir, { ledger })
  folders.push(folder)
  const keyFile = join(folder.dir, 'data/ledger.key')
  const made = await runWrit(['ledger', 'keygen', '--origin', ledger.origin, '--out', keyFile, '--json'])
  expect(made, made.stderr).toMatchObject({ code: 0 })
  return { folder, vkey: (JSON.parse(made.stdout) as { vkey: string }).vkey }
}

/** Starts the witness that `by` runs for the ledger of `of`, as docs/witness.md says, and tells the broker of `of` about it. */
async function watch(by: Installation, of: Installation): Promise<string> {
  const at = (name: string): string => join(by.folder.dir, name)
  const name = `witness.${parseVkey(by.vkey).name.replace('/ledger', '')}`
  await runWrit(['witness', 'keygen', '--name', name, '--out', at('witness.key')])
  const settings = { listen: { port: 0 }, data: 'witness', keyFile: 'witness.key', logs: [{ vkey: of.vkey }] }
  await writeFile(at('witness.yaml'), stringify(settings))
  const witness = spawnWrit(['witness', '--config', at('witness.yaml')])
  witnesses.push(witness)
  const { url, vkey } = await eventually(async () => JSON.parse(witness.stdout()), 'listening', 60_000)
  const config = parse(await readFile(of.folder.config, 'utf8'))
  Object.assign(config.ledger, { witnesses: [{ url, vkey }], quorum: 1, witnessTimeout: '20s' })
  await writeFile(of.folder.config, stringify(config))
  return vkey
}

const issue = async (serving: Serving): Promise<number> => {
  const answer = await callApi(serving.url, 'POST', '/v1/credentials', {
    token: await world.token('checkout'),
    body: { purpose: 'read-orders' },
  })
  expect(answer.status, answer.text).toBe(201)
  return answer.body.ledger.index
}

/** Waits until the published checkpoint covers the entry, and gives it. */
const covering = ({ folder, vkey }: Installation, index: number): Promise<string> =>
  eventually(
    async () => {
      const note = await readFile(join(folder.ledger, 'checkpoint'), 'utf8')
      return openCheckpoint(note, parseVkey(vkey)).size > index ? note : undefined
    },
    'a checkpoint over the issuance',
    60_000,
  )

test('two brokers that watch each other have each other’s cosignature; the one that is rolled back does not start again', {
  timeout: 300_000,
}, async () => {
  const [one, two] = [await install('one'), await install('two')]
  const [byTwo, byOne] = [await watch(two, one), await watch(one, two)]
  const [first, second] = [await startServe(one.folder), await startServe(two.folder)]

  for (const [installation, serving, witness] of [
    [one, first, byTwo],
    [two, second, byOne],
  ] as const) {
    const note = await covering(installation, await issue(serving))
    expect(cosignaturesOf(note, [parseWitnessVkey(witness)])).toHaveLength(1)
  }

  // Yesterday's copy of the first, taken while it stood still; then it goes on for a day.
  first.signal('SIGTERM')
  expect(await first.exited).toMatchObject({ code: 0 })
  const yesterday = join(one.folder.dir, 'yesterday')
  await cp(one.folder.ledger, yesterday, { recursive: true })
  const today = await startServe(one.folder)
  const lost = await issue(today)
  await covering(one, lost)
  today.signal('SIGTERM')
  expect(await today.exited).toMatchObject({ code: 0 })

  await rm(one.folder.ledger, { recursive: true })
  await cp(yesterday, one.folder.ledger, { recursive: true })
  // The copy is sound in itself: nothing but the witness knows that there was more.
  const copy = { dir: one.folder.ledger, vkey: one.vkey, witnesses: { vkeys: [byTwo], quorum: 1 } }
  expect(await verifyLedger(copy)).toMatchObject({ ok: true })
  for (let attempt = 0; attempt < 2; attempt++) {
    const refused = await runWrit(['serve', '--config', one.folder.config], { cwd: one.folder.dir })
    expect(refused.code).not.toBe(0)
    expect(refused.stdout).toBe('')
    expect(refused.stderr).toMatch(/witness .* says that it has seen \d+ entries where the ledger has \d+/)
    expect(refused.stderr).toContain('the folder was rolled back')
  }
  const signed = openCheckpoint(await readFile(join(one.folder.ledger, 'checkpoint'), 'utf8'), parseVkey(one.vkey))
  expect(signed.size).toBeLessThanOrEqual(lost)

  // The other never noticed: it goes on, and so does its witness.
  const note = await covering(two, await issue(second))
  expect(cosignaturesOf(note, [parseWitnessVkey(byOne)])).toHaveLength(1)
  second.signal('SIGTERM')
  expect(await second.exited).toMatchObject({ code: 0 })
  const other = { dir: two.folder.ledger, vkey: two.vkey, witnesses: { vkeys: [byOne], quorum: 1 } }
  expect(await verifyLedger(other)).toMatchObject({ ok: true, unsigned: 0 })
  for (const witness of witnesses.splice(0)) {
    witness.signal('SIGTERM')
    expect(await witness.exited).toMatchObject({ code: 0 })
  }
})
