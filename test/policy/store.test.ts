import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { silentLog } from '../../src/base/log.ts'
import type { LoadResult } from '../../src/policy/load.ts'
import { createPolicyStore, PolicyFault, type PolicyStoreOptions } from '../../src/policy/store.ts'
import { fakeClock } from '../support/clock.ts'
import { base, folder } from './organisation.ts'

async function open(options: Partial<PolicyStoreOptions> & { dir: string }) {
  const clock = fakeClock()
  const store = await createPolicyStore({ clock, log: silentLog, ...options })
  onTestFinished(() => store.close())
  return { store, clock }
}

const wider = `${base['workload.yaml']}`.replace('max: 1h', 'max: 2h')

test('a good edit replaces the set whole; the old one is left as it was', async () => {
  const dir = await folder(base)
  const loaded: string[] = []
  const { store } = await open({ dir, onLoaded: (set) => void loaded.push(set.digest) })
  const before = store.current()
  await writeFile(join(dir, 'workload.yaml'), wider)
  const status = await store.reload()
  expect(status).toMatchObject({ digest: store.current().digest, workloads: 1, refused: null })
  expect(store.current()).not.toBe(before)
  expect(before.byName.workload.get('checkout')?.purposes.get('read')?.maxSeconds).toBe(3600)
  expect(store.current().byName.workload.get('checkout')?.purposes.get('read')?.maxSeconds).toBe(7200)
  expect(loaded).toEqual([before.digest, store.current().digest])
})

test('a reload reads what changed and takes the rest as it was read before', async () => {
  const dir = await folder(base)
  const { store } = await open({ dir })
  const before = store.current()
  await writeFile(join(dir, 'workload.yaml'), wider)
  await store.reload()
  const after = store.current()
  expect(after.byName.workload.get('checkout')?.policy).not.toBe(before.byName.workload.get('checkout')?.policy)
  expect(after.byName.team.get('payments')).toBe(before.byName.team.get('payments'))
})

test('a bad edit keeps the set before it and is told to whoever keeps the record', async () => {
  const dir = await folder(base)
  const refused: (readonly string[])[] = []
  const { store } = await open({ dir, onRefused: (problems) => void refused.push(problems) })
  const before = store.current()
  await writeFile(join(dir, 'workload.yaml'), wider.replace('owner: payments', 'owner: nobody'))
  const status = await store.reload()
  expect(store.current()).toBe(before)
  expect(status.refused?.problems).toEqual([expect.stringContaining('workload.yaml:5:8: there is no Team')])
  expect(refused).toEqual([status.refused?.problems])
  await writeFile(join(dir, 'workload.yaml'), wider)
  expect((await store.reload()).refused).toBeNull()
})

test('a set that cannot be recorded does not come into force', async () => {
  const dir = await folder(base)
  let broken = false
  const onLoaded = (): void => {
    if (broken) throw new Error('the ledger is full')
  }
  const { store } = await open({ dir, onLoaded })
  const before = store.current()
  broken = true
  await writeFile(join(dir, 'workload.yaml'), wider)
  await expect(store.reload()).rejects.toThrow('the ledger is full')
  expect(store.current()).toBe(before)
})

test('without a first set there is no store, and every problem is on the fault', async () => {
  const dir = await folder({ 'a.yaml': 'kind: Team\n', 'b.yaml': 'kind: Nothing\n' })
  const refused: (readonly string[])[] = []
  const failed = createPolicyStore({
    dir,
    clock: fakeClock(),
    log: silentLog,
    onRefused: (all) => void refused.push(all),
  })
  await expect(failed).rejects.toBeInstanceOf(PolicyFault)
  await expect(failed).rejects.toMatchObject({
    problems: expect.arrayContaining([expect.objectContaining({ file: 'b.yaml' })]),
  })
  expect(refused[0]?.length).toBeGreaterThan(1)
})

test('a change of a file is followed once the folder has been still, also through a rename', async () => {
  const dir = await folder(base)
  const { store, clock } = await open({ dir })
  const before = store.current().digest
  // As editors do: write beside it, then move over it.
  await writeFile(join(dir, '.workload.yaml.swp'), wider)
  await rename(join(dir, '.workload.yaml.swp'), join(dir, 'workload.yaml'))
  await vi.waitFor(
    async () => {
      await clock.advance(300)
      expect(store.current().digest).not.toBe(before)
    },
    { timeout: 10_000, interval: 20 },
  )
})

test('a folder that goes away keeps the set, and says so', async () => {
  const dir = await folder(base)
  const { store } = await open({ dir })
  const before = store.current()
  await rm(dir, { recursive: true })
  expect((await store.reload()).refused).not.toBeNull()
  expect(store.current()).toBe(before)
})

test('reloads never overlap, and one that is asked for meanwhile sees what changed meanwhile', async () => {
  let running = 0
  let most = 0
  let loads = 0
  const result: LoadResult = { ok: false, problems: [] }
  const good = await (await open({ dir: await folder(base) })).store.current()
  const load = async (): Promise<LoadResult> => {
    loads++
    most = Math.max(most, ++running)
    await new Promise((resolve) => setImmediate(resolve))
    running--
    return loads === 1 ? { ok: true, set: good } : result
  }
  const { store } = await open({ dir: await folder(base), load })
  await Promise.all([store.reload(), store.reload(), store.reload()])
  expect(most).toBe(1)
  // The first load, the reload under way, and one more for all who asked during it.
  expect(loads).toBe(3)
})
