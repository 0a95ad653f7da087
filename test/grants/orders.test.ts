import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BrokerFault } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import type { Matching } from '../../src/grants/holds.ts'
import { createOpenEntries } from '../../src/grants/open-entries.ts'
import type { Order } from '../../src/grants/orders.ts'
import { replay } from '../../src/grants/replay.ts'
import type { Entry } from '../../src/ledger/entry.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { createRestart } from '../../src/ledger/store/restart.ts'
import { factOf } from '../../src/ledger/verify/fact.ts'
import { createMeaning } from '../../src/ledger/verify/meaning.ts'
import { eventually } from '../support/child.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { by, grantsStage } from '../support/grants.ts'
import { collect, ledgerInFolder } from '../support/ledger.ts'

const hour = 3_600_000
const down = (): BrokerFault => new BrokerFault('vault_unavailable', 'down')
const workload = (name: string): Matching => ({ by: 'workload', name, teams: undefined })

describe('an order to revoke', () => {
  let clock: FakeClock
  let ledger: FileLedger
  let stage: ReturnType<typeof grantsStage>
  let book: { readonly dir: string; readonly open: ReturnType<typeof createOpenEntries> }
  let leave: () => Promise<void>
  beforeEach(async () => {
    clock = fakeClock()
    const opened = await ledgerInFolder({ clock })
    ledger = opened.ledger
    leave = opened.close
    const open = createOpenEntries({ usedUntilMs: () => undefined, now: clock.now })
    ledger.subscribe(open.see)
    book = { dir: opened.dir, open }
    stage = grantsStage(ledger, clock)
  })
  afterEach(() => leave())

  async function pass<T>(running: Promise<T>): Promise<T> {
    let over = false
    const done = running.finally(() => {
      over = true
    })
    done.catch(() => {})
    while (!over) await clock.advance(50)
    return done
  }
  const place = async (match: Matching, holdSeconds = 0, on = stage): Promise<Order> => {
    const placed = await pass(on.orders.place({ ...match, reason: 'incident 9', holdSeconds }, by))
    if (!placed.ok) throw new Error(placed.refusal.code)
    return placed.value
  }
  /** Waits for real: the disk does not know the fake clock. */
  const completed = (order: Order, on = stage): Promise<Order> =>
    eventually(async () => {
      const now = on.orders.get(order.id)
      return now?.completedAtMs === undefined ? undefined : now
    }, 'the order is completed')
  const finished = async (order: Order, on = stage): Promise<Order | undefined> => {
    await pass(on.orders.finished(order, hour))
    return on.orders.get(order.id)
  }
  const told = async (kind: Entry['kind']): Promise<Entry[]> =>
    (await collect(ledger.read(0))).map(({ entry }) => entry).filter((entry) => entry.kind === kind)
  /** A start from the record, all of it or from where the last one left off. */
  async function restarted(from: 'record' | 'restart point'): Promise<typeof stage> {
    await pass(stage.orders.stop())
    const restart = createRestart({ dir: book.dir, ledger, key: new Uint8Array(32), log: silentLog })
    if (from === 'restart point') await restart.follow(book.open.list).stop()
    const again = grantsStage(ledger, clock)
    await replay({ ...again, entries: from === 'record' ? ledger.read(0) : restart.entries(), clock })
    return again
  }

  test('ends everything that matches and nothing else; its entries and those of the grants bear its id', async () => {
    const mine = [await stage.issue(), await stage.issue()]
    const other = await stage.issue({ as: { workload: 'nightly-report' } })
    const order = await finished(await place(workload('checkout')))
    expect(order).toMatchObject({ matched: 2, done: 2, tried: true, completedAtMs: expect.any(Number) })
    expect(Object.fromEntries(order?.outcomes ?? [])).toEqual({ revoked: 2 })
    expect((await stage.registry.get(other.grant.id))?.status).toBe('active')
    const entries = (await collect(ledger.read(0))).map(({ entry }) => entry)
    const caused = entries.filter(({ revocation }) => revocation === order?.id)
    expect(caused.map(({ kind }) => kind).sort()).toEqual([
      'grant.ended',
      'grant.ended',
      'grant.ending',
      'grant.ending',
      'revocation.completed',
      'revocation.ordered',
    ])
    expect(caused[0]).toMatchObject({ kind: 'revocation.ordered', match: 'workload', workload: 'checkout', grants: 2 })
    for (const { grant } of mine) expect(await stage.registry.get(grant.id)).toMatchObject({ cause: 'kill_switch' })
    const meaning = createMeaning()
    expect(entries.flatMap((entry) => meaning.next(factOf(entry)))).toEqual([])
  })

  test('stops issuance before it looks for grants: what took its place is found, what did not is refused', async () => {
    const early = await stage.intend()
    let release = (): void => {}
    stage.script.beforeAnswer = () => new Promise((resolve) => (release = resolve))
    const minting = stage.mint(early)
    await clock.advance(1)
    const order = await place(workload('checkout'))
    expect(order.matched).toBe(1)
    await expect(stage.intend()).rejects.toThrow('issuance_held')
    expect((await stage.intend({ as: { workload: 'nightly-report' } })).workload).toBe('nightly-report')
    release()
    stage.script.beforeAnswer = undefined
    expect((await minting).grant.status).toBe('ending')
    expect(await finished(order)).toMatchObject({ done: 1, completedAtMs: expect.any(Number) })
    expect(stage.script.leases.size).toBe(0)
    await stage.intend()
  })

  test('an owner’s order reaches and holds what the team owns, whoever else has a purpose of that name', async () => {
    const mine = await stage.issue()
    const theirs = await stage.issue({ as: { workload: 'other', owner: 'platform' } })
    const order = await place({ by: 'purpose', name: 'read-orders', teams: ['payments'] }, 3600)
    expect(await finished(order)).toMatchObject({ matched: 1, done: 1 })
    expect((await stage.registry.get(mine.grant.id))?.status).toBe('ended')
    expect((await stage.registry.get(theirs.grant.id))?.status).toBe('active')
    await expect(stage.intend()).rejects.toThrow('issuance_held')
    await stage.intend({ as: { workload: 'other', owner: 'platform' } })
  })

  test('is not given when it cannot be recorded, and holds nothing then', async () => {
    await stage.issue()
    const full = grantsStage({ ...ledger, append: () => Promise.reject(new BrokerFault('ledger_unavailable')) }, clock)
    await expect(full.orders.place({ ...workload('checkout'), reason: '', holdSeconds: 0 }, by)).rejects.toMatchObject({
      code: 'ledger_unavailable',
    })
    expect(full.orders.list()).toEqual([])
    expect(full.orders.heldBy({ workload: 'checkout', owner: '', purpose: '', issuer: '', credential: '' })).toBe(
      undefined,
    )
  })

  test('stays open while Vault is away, answers that all was tried, and is completed when the last grant has ended', async () => {
    for (let i = 0; i < 40; i++) await stage.issue()
    stage.script.vaultReady = false
    stage.script.revokeFaults = Array.from({ length: 60 }, down)
    const order = await finished(await place(workload('checkout')))
    expect(order).toMatchObject({ matched: 40, tried: true, completedAtMs: undefined })
    expect(order?.done).toBeLessThan(40)
    await expect(stage.intend()).rejects.toThrow('issuance_held')
    stage.script.revokeFaults = []
    await pass(stage.sweep.once())
    stage.script.vaultReady = true
    await pass(stage.sweep.once())
    if (order === undefined) throw new Error('it is forgotten')
    expect(await completed(order)).toMatchObject({ done: 40 })
    expect(stage.script.leases.size).toBe(0)
    await stage.intend()
  })

  test.each(['record', 'restart point'] as const)(
    'open at a crash is carried out again by the next start, from the %s',
    async (from) => {
      for (let i = 0; i < 5; i++) await stage.issue()
      stage.script.revokeFaults = [...Array.from({ length: 100 }, down)]
      const order = await place(workload('checkout'), 600)
      expect(await finished(order)).toMatchObject({ done: 0 })
      const again = await restarted(from)
      again.script.leases.clear()
      expect(again.orders.get(order.id)).toMatchObject({ matched: 5, completedAtMs: undefined, reason: 'incident 9' })
      await expect(again.intend()).rejects.toThrow('issuance_held')
      again.orders.resume()
      expect(await finished(order, again)).toMatchObject({ matched: 5, done: 5, completedAtMs: expect.any(Number) })
      expect(await told('revocation.completed')).toHaveLength(1)
      const [ended] = await told('grant.ended')
      expect(ended).toMatchObject({ revocation: order.id, actor: { type: 'workload' } })
      await expect(again.intend()).rejects.toThrow('issuance_held')
    },
  )

  test.each(['record', 'restart point'] as const)(
    'holds issuance for as long as it said, over starts from the %s, also when it is lifted',
    async (from) => {
      const lifted = await place(workload('checkout'), 3 * 3600)
      const lasting = await place({ by: 'owner', name: 'platform', teams: undefined }, 3 * 3600)
      await finished(lifted)
      await finished(lasting)
      expect(await pass(stage.orders.lift(lifted, 'rebuilt', by))).toMatchObject({ ok: true })
      expect(await pass(stage.orders.lift(lifted, 'again', by))).toMatchObject({ refusal: { code: 'state_conflict' } })
      await clock.advance(2 * hour)
      for (const each of [stage, await restarted(from)]) {
        await each.intend()
        await expect(each.intend({ as: { owner: 'platform' } })).rejects.toThrow('issuance_held')
      }
      await clock.advance(hour)
      const last = await restarted(from)
      for (const each of [stage, last]) await each.intend({ as: { owner: 'platform' } })
      expect(last.orders.list()).toEqual([])
      expect(book.open.list().length).toBeLessThan(20)
    },
  )

  test('lifted while it is open: issuance goes on, the revocation too, and neither ends the other', async () => {
    await stage.issue()
    stage.script.revokeFaults = Array.from({ length: 9 }, down)
    const order = (await finished(await place(workload('checkout'), 600))) as Order
    await clock.advance(10)
    expect(await pass(stage.orders.lift(order, undefined, by))).toMatchObject({ ok: true })
    await clock.advance(10)
    const fresh = await stage.issue()
    const again = await restarted('record')
    again.script.leases.clear()
    again.orders.resume()
    await finished(order, again)
    expect(await again.registry.get(fresh.grant.id)).toMatchObject({ status: 'active' })
    expect(again.orders.get(order.id)).toMatchObject({ done: 1, completedAtMs: expect.any(Number) })
    await again.intend()
  })

  test('begun and not ended when the broker stops is left to the next start', async () => {
    for (let i = 0; i < 100; i++) await stage.issue()
    const order = await place(workload('checkout'))
    await pass(stage.orders.stop())
    const begun = (await told('grant.ended')).length
    expect(begun).toBeLessThan(100)
    expect(await told('revocation.completed')).toEqual([])
    const again = await restarted('record')
    again.orders.resume()
    expect(await finished(order, again)).toMatchObject({
      matched: 100,
      done: 100,
      outcomes: new Map([['revoked', 100]]),
    })
  })

  test('latency counts from the order, also for the last of many', async () => {
    for (let i = 0; i < 48; i++) await stage.issue()
    const engine = stage.engine.revoke
    Object.assign(stage.engine, {
      revoke: async (handle: Parameters<typeof engine>[0]) => {
        await new Promise<void>((resolve) => clock.after(1_000, resolve))
        return engine(handle)
      },
    })
    await finished(await place(workload('checkout')))
    const latencies = (await told('grant.ended')).map((entry) => ('latency_ms' in entry ? (entry.latency_ms ?? 0) : 0))
    expect(Math.min(...latencies)).toBeGreaterThanOrEqual(1_000)
    expect(Math.max(...latencies)).toBeGreaterThanOrEqual(2_000)
  })
})
