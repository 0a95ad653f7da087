import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BrokerFault } from '../../src/base/errors.ts'
import type { TaskId } from '../../src/base/ids.ts'
import { silentLog } from '../../src/base/log.ts'
import { AmbiguousMint, VaultFault } from '../../src/engines/faults.ts'
import { about } from '../../src/grants/end.ts'
import { createOpenEntries } from '../../src/grants/open-entries.ts'
import { replay } from '../../src/grants/replay.ts'
import type { Task, Tasks } from '../../src/grants/tasks.ts'
import type { Entry } from '../../src/ledger/entry.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { createRestart } from '../../src/ledger/store/restart.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { by, grantsStage } from '../support/grants.ts'
import { collect, ledgerInFolder, openTestLedger, withFolder } from '../support/ledger.ts'

/** Runs a promise that waits on the fake clock, moving time until it settles. */
async function whileTimePasses<T>(clock: FakeClock, running: Promise<T>): Promise<T> {
  let over = false
  const done = running.finally(() => {
    over = true
  })
  done.catch(() => {})
  while (!over) await clock.advance(50)
  return done
}

/** Lets time pass in steps, with a round of the sweep after each. */
async function sweepFor(
  stage: ReturnType<typeof grantsStage>,
  clock: FakeClock,
  rounds: number,
  stepMs: number,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await clock.advance(stepMs)
    await whileTimePasses(clock, stage.sweep.once())
  }
}

async function opened(stage: ReturnType<typeof grantsStage>, ...order: Parameters<Tasks['open']>): Promise<Task> {
  const task = await stage.tasks.open(...order)
  if (!task.ok) throw new Error(task.refusal.code)
  return task.value
}

const kinds = async (ledger: FileLedger): Promise<string[]> =>
  (await collect(ledger.read(0))).map(({ entry }) => entry.kind)
const last = async (ledger: FileLedger): Promise<Entry | undefined> => (await collect(ledger.read(0))).at(-1)?.entry

describe('ending a grant', () => {
  let clock: FakeClock
  let ledger: FileLedger
  let stage: ReturnType<typeof grantsStage>
  let leave: () => Promise<void>
  beforeEach(async () => {
    clock = fakeClock()
    const opened = await ledgerInFolder({ clock })
    ledger = opened.ledger
    leave = opened.close
    stage = grantsStage(ledger, clock)
  })
  afterEach(() => leave())

  test('records the intention, revokes in Vault, then records the outcome with its latency', async () => {
    const { grant } = await stage.issue()
    expect(await stage.ender.end(grant, { cause: 'handed_back', by })).toMatchObject({ outcome: 'revoked' })
    expect(stage.script.leases.size).toBe(0)
    expect(await kinds(ledger)).toEqual(['grant.intent', 'grant.issued', 'grant.ending', 'grant.ended'])
    expect(await last(ledger)).toMatchObject({
      cause: 'handed_back',
      outcome: 'revoked',
      attempts: 1,
      latency_ms: expect.any(Number),
    })
  })

  test('of many who end one grant at once, one does and all hear the outcome', async () => {
    const { grant } = await stage.issue()
    const ends = await Promise.all(Array.from({ length: 20 }, () => stage.ender.end(grant, { cause: 'revoked', by })))
    expect(new Set(ends.map(({ outcome }) => outcome))).toEqual(new Set(['revoked']))
    expect(stage.script.revocations).toBe(1)
    expect((await kinds(ledger)).filter((kind) => kind === 'grant.ended')).toHaveLength(1)
    expect(await stage.ender.end(grant, { cause: 'revoked', by })).toMatchObject({ outcome: 'revoked' })
    expect(stage.script.revocations).toBe(1)
  })

  test('a switch pulled while Vault mints ends what comes of it', async () => {
    const minting = await stage.intend()
    let release = (): void => {}
    stage.script.beforeAnswer = () => new Promise((resolve) => (release = resolve))
    const minted = stage.mint(minting)
    const ended = stage.ender.end(minting, { cause: 'kill_switch', by })
    while ((await stage.registry.get(minting.id))?.status !== 'ending') await clock.advance(10)
    release()
    expect((await minted).grant.status).toBe('ending')
    expect(await whileTimePasses(clock, ended)).toMatchObject({ outcome: 'revoked' })
    expect(stage.script.leases.size).toBe(0)
  })

  test('a revocation that Vault misses is kept, tried again by the sweep, and recorded when it works', async () => {
    const { grant } = await stage.issue()
    const down = (): BrokerFault => new BrokerFault('vault_unavailable', 'down')
    stage.script.revokeFaults = Array.from({ length: 5 }, down)
    await expect(whileTimePasses(clock, stage.ender.end(grant, { cause: 'revoked', by }))).rejects.toMatchObject({
      code: 'vault_unavailable',
    })
    expect((await stage.registry.get(grant.id))?.status).toBe('ending')
    await sweepFor(stage, clock, 4, 30_000)
    expect(await stage.registry.get(grant.id)).toMatchObject({ status: 'ended', outcome: 'revoked' })
    expect(await last(ledger)).toMatchObject({ kind: 'grant.ended', attempts: 6 })
    expect(stage.script.leases.size).toBe(0)
  })

  test('a grant that Vault will not revoke becomes a critical finding once, and slow retries go on', async () => {
    const { grant } = await stage.issue()
    stage.script.revokeFaults = Array.from({ length: 12 }, () => new BrokerFault('engine_refused', 'no'))
    await expect(stage.ender.end(grant, { cause: 'revoked', by })).rejects.toMatchObject({ code: 'engine_refused' })
    await sweepFor(stage, clock, 16, 300_000)
    const all = await kinds(ledger)
    expect(all.filter((kind) => kind === 'finding.opened')).toHaveLength(1)
    expect((await stage.registry.get(grant.id))?.status).toBe('ended')
    // When it succeeds at last, the finding is over before the end is told.
    expect(all.slice(-2)).toEqual(['finding.closed', 'grant.ended'])
    const ended = await last(ledger)
    expect(ended).toMatchObject({ engine: 'scripted', attempts: 13 })
    // From the decision, not from the attempt that worked.
    expect(ended?.kind === 'grant.ended' && ended.latency_ms).toBeGreaterThan(600_000)
  })

  test('a start takes up a grant that is irrevocable as such: one finding, whoever is asked says so, and it goes on', async () => {
    const { grant } = await stage.issue()
    stage.script.revokeFaults = Array.from({ length: 100 }, () => new BrokerFault('engine_refused', 'no'))
    expect(await stage.ender.endOrPostpone(grant, { cause: 'revoked', by })).toMatchObject({ outcome: 'pending' })
    await sweepFor(stage, clock, 9, 300_000)
    expect(await stage.state.count('grant', 'irrevocable')).toBe(1)
    expect(await stage.state.count('grant', 'unrevoked')).toBe(1)

    const again = grantsStage(ledger, clock)
    await replay({ ...again, entries: ledger.read(0), clock })
    again.script.revokeFaults = Array.from({ length: 3 }, () => new BrokerFault('engine_refused', 'no'))
    expect(await again.state.count('grant', 'irrevocable')).toBe(1)
    await sweepFor(again, clock, 2, 300_000)
    const restored = (await again.registry.get(grant.id)) ?? grant
    const answer = await again.ender.endOrPostpone(restored, { cause: 'revoked', by })
    expect(answer).toMatchObject({ outcome: 'irrevocable' })
    expect(answer.latency_ms).toBeGreaterThan(3_000_000)
    await sweepFor(again, clock, 3, 300_000)
    expect(await again.registry.get(grant.id)).toMatchObject({ status: 'ended', outcome: 'revoked' })
    expect((await kinds(ledger)).filter((kind) => kind.startsWith('finding.'))).toEqual([
      'finding.opened',
      'finding.closed',
    ])
    expect(await again.state.count('grant', 'irrevocable')).toBe(0)
    expect(await again.state.count('grant', 'unrevoked')).toBe(0)
  })

  test('when Vault is back, what waits for its next attempt is revoked within seconds, and nobody calls it irrevocable', async () => {
    const { grant } = await stage.issue()
    const down = (): BrokerFault => new BrokerFault('vault_unavailable', 'down')
    stage.script.revokeFaults = Array.from({ length: 40 }, down)
    stage.script.vaultReady = false
    await whileTimePasses(clock, stage.ender.endOrPostpone(grant, { cause: 'revoked', by }))
    await sweepFor(stage, clock, 200, 10_000)
    expect(stage.script.revocations).toBeGreaterThan(10)
    expect(await kinds(ledger)).not.toContain('finding.opened')
    stage.script.revokeFaults = []
    stage.script.vaultReady = true
    await sweepFor(stage, clock, 1, 1_000)
    expect(await stage.registry.get(grant.id)).toMatchObject({ status: 'ended', outcome: 'revoked' })
  })

  test('a Vault that is away is asked by few in a round, so that rounds stay short and time ends the rest in time', async () => {
    for (let i = 0; i < 60; i++) await stage.issue()
    stage.script.vaultReady = false
    stage.script.revokeFaults = Array.from({ length: 1_000 }, () => new BrokerFault('vault_unavailable', 'down'))
    await clock.advance(900_000)
    await whileTimePasses(clock, stage.sweep.once())
    expect(stage.script.revocations).toBe(16)
    stage.script.revokeFaults = []
    stage.script.vaultReady = true
    await whileTimePasses(clock, stage.sweep.once())
    expect(stage.script.leases.size).toBe(0)
  })

  test('what nothing can end is counted and shown until it expires, also by the next start, and then no more', async () => {
    stage.script.revocable = false
    const { grant } = await stage.issue()
    const answer = await stage.ender.end(grant, { cause: 'handed_back', by })
    expect(answer).toMatchObject({
      outcome: 'expires_only',
      works_until: new Date(clock.now() + 900_000).toISOString(),
    })
    expect(stage.script.revocations).toBe(0)
    const again = grantsStage(ledger, clock)
    await replay({ ...again, entries: ledger.read(0), clock })
    for (const each of [stage, again]) {
      expect(await each.state.count('grant', 'expires_only')).toBe(1)
      expect(await each.registry.find(['expires_only'], { limit: 9 })).toMatchObject([{ id: grant.id }])
    }
    for (const each of [stage, again]) await sweepFor(each, clock, 2, 450_000)
    for (const each of [stage, again]) expect(await each.state.count('grant', 'expires_only')).toBe(0)
  })

  test('what time ends is ended in Vault too, without anybody asking', async () => {
    const { grant } = await stage.issue()
    await sweepFor(stage, clock, 1, 899_000)
    expect((await stage.registry.get(grant.id))?.status).toBe('active')
    await sweepFor(stage, clock, 1, 1_000)
    expect(await stage.registry.get(grant.id)).toMatchObject({ status: 'ended', outcome: 'expired' })
    expect(stage.script.leases.size).toBe(0)
  })

  test('ending a task ends its grants and nobody else’s', async () => {
    const task = await opened(
      stage,
      {
        workload: 'checkout',
        owner: 'payments',
        purpose: 'read-orders',
        environment: 'prod',
        intent: 'i',
        expiresAtMs: clock.now() + 60_000,
      },
      by,
    )
    const mine = [await stage.issue({ task: task.id }), await stage.issue({ task: task.id })]
    const other = await stage.issue()
    const ended = await stage.tasks.end(task, { cause: 'holder', by })
    expect(ended.map(({ grant, outcome }) => [grant, outcome])).toEqual(mine.map(({ grant }) => [grant.id, 'revoked']))
    expect((await stage.registry.get(other.grant.id))?.status).toBe('active')
    expect(await stage.tasks.held(task.id, 'checkout', 'read-orders')).toMatchObject({
      ok: false,
      refusal: { code: 'state_conflict' },
    })
  })

  test('a task past its deadline ends by itself', async () => {
    const task = await opened(
      stage,
      {
        workload: 'checkout',
        owner: 'payments',
        purpose: 'read-orders',
        environment: 'prod',
        intent: 'i',
        expiresAtMs: clock.now() + 60_000,
      },
      by,
    )
    await stage.issue({ task: task.id })
    await sweepFor(stage, clock, 1, 60_000)
    expect(stage.script.leases.size).toBe(0)
    expect((await stage.tasks.get(task.id))?.status).toBe('ended')
  })

  test('an engine that refuses leaves a failed grant, no lease and room under the limit', async () => {
    stage.script.mintFaults = [new BrokerFault('engine_refused', 'path "x" { capabilities = ["read"] }')]
    await expect(stage.issue()).rejects.toMatchObject({ code: 'engine_refused' })
    expect(await kinds(ledger)).toEqual(['grant.intent', 'grant.failed'])
    expect(await stage.registry.counters('checkout', 'read-orders')).toMatchObject({ active: 0 })
  })

  test('a mint of unknown outcome is settled once Vault can no longer be at it, and its lease is revoked', async () => {
    const kept = await stage.issue()
    stage.script.mintFaults = [new AmbiguousMint(new VaultFault('timeout', 'GET database/creds/orders-ro'))]
    const lost = await stage.intend()
    await expect(stage.mint(lost)).rejects.toThrow(AmbiguousMint)
    expect(stage.script.leases.size).toBe(2)
    await sweepFor(stage, clock, 1, 119_000)
    expect(stage.script.leases.size).toBe(2)
    await sweepFor(stage, clock, 1, 1_000)
    expect(stage.script.leases.size).toBe(1)
    expect(await stage.registry.get(lost.id)).toMatchObject({ status: 'ended', outcome: 'failed' })
    expect((await stage.registry.get(kept.grant.id))?.status).toBe('active')
    expect(await kinds(ledger)).toContain('grant.ended')
  })

  test('settling waits for a mint whose lease is listed and not yet recorded', async () => {
    stage.script.mintFaults = [new AmbiguousMint(new VaultFault('timeout', 'GET database/creds/orders-ro'))]
    const lost = await stage.intend()
    await stage.mint(lost).catch(() => {})
    let release = (): void => {}
    stage.script.beforeAnswer = () => new Promise((resolve) => (release = resolve))
    const late = stage.issue()
    while (stage.script.leases.size < 2) await clock.advance(1)
    const settled = stage.reconciler.settle([lost])
    await clock.advance(1_000)
    release()
    const { grant } = await late
    await whileTimePasses(clock, settled)
    expect((await stage.registry.get(grant.id))?.status).toBe('active')
    expect(stage.script.leases.size).toBe(1)
  })

  test('reconciling revokes a lease that nobody accounts for and spares those of live grants', async () => {
    const kept = await stage.issue()
    stage.script.leases.add('database/creds/orders-ro/made-by-hand')
    await stage.reconcile()
    expect(stage.script.leases.size).toBe(1)
    expect((await stage.registry.get(kept.grant.id))?.status).toBe('active')
    expect((await collect(ledger.read(0))).at(-2)?.entry).toMatchObject({ cause: 'orphan', outcome: 'revoked' })
    expect(await last(ledger)).toMatchObject({ kind: 'reconcile.completed', trigger: 'demand', orphans: 1 })
  })

  test('a lease that may be behind a wrapping token is spared while its grant lives, and a later stray is not', async () => {
    const { grant } = await stage.issue()
    await stage.registry.update(grant.id, (present) => ({ ...present, delivery: 'wrapped', lease: undefined }))
    await stage.reconcile()
    expect(stage.script.leases.size).toBe(1)
    await clock.advance(300_000)
    stage.script.madeAtMs.set('database/creds/orders-ro/1', grant.openedAtMs)
    stage.script.leases.add('database/creds/orders-ro/made-by-hand')
    await stage.reconcile()
    expect([...stage.script.leases]).toEqual(['database/creds/orders-ro/1'])
  })

  test('limits hold against callers who ask at once', async () => {
    const limits = { active: 3, perMinute: undefined }
    const asked = await Promise.allSettled(Array.from({ length: 10 }, () => stage.issue({ limits })))
    expect(asked.filter(({ status }) => status === 'fulfilled')).toHaveLength(3)
    expect(asked.find((each) => each.status === 'rejected')?.reason).toMatchObject({ message: 'limit_reached' })
  })

  test('when the issuance cannot be recorded the lease is revoked before the fault goes on', async () => {
    const minting = await stage.intend()
    stage.script.beforeAnswer = () => ledger.close()
    await expect(stage.mint(minting)).rejects.toMatchObject({ code: 'ledger_unavailable' })
    expect(stage.script.leases.size).toBe(0)
  })

  test('replaying the ledger gives what memory held, whatever happened, also from any restart point', async () => {
    const steps = fc.array(
      fc.constantFrom('issue', 'issue', 'end', 'renew', 'task', 'endTask', 'refuse', 'lose', 'wait', 'hours', 'save'),
      { maxLength: 25 },
    )
    await fc.assert(
      fc.asyncProperty(steps, (script) =>
        withFolder(async (dir) => {
          const time = fakeClock()
          const book = await openTestLedger(dir, { clock: time })
          const live = grantsStage(book, time)
          const ids: string[] = []
          const tasks: TaskId[] = []
          const open = createOpenEntries({ usedUntilMs: () => undefined, now: time.now })
          book.subscribe(open.see)
          const restart = createRestart({ dir, ledger: book, key: new Uint8Array(32), log: silentLog })
          for (const step of script) {
            if (step === 'save') await restart.follow(open.list).stop()
            else await play(step, live, time, ids, tasks)
          }
          for (const entries of [book.read(0), restart.entries()]) {
            const again = grantsStage(book, time)
            await replay({ ...again, entries, clock: time })
            for (const id of ids) expect(await again.registry.get(id)).toEqual(await live.registry.get(id))
            for (const id of tasks) expect(await again.tasks.get(id)).toEqual(await live.tasks.get(id))
            const counted = await live.registry.counters('checkout', 'read-orders')
            expect(await again.registry.counters('checkout', 'read-orders')).toEqual(counted)
          }
          await book.close()
        }),
      ),
      { numRuns: 60 },
    )
  })
})

async function play(
  step: string,
  live: ReturnType<typeof grantsStage>,
  clock: FakeClock,
  ids: string[],
  tasks: TaskId[],
): Promise<void> {
  const task = tasks.at(-1)
  switch (step) {
    case 'issue':
      ids.push((await live.issue(task !== undefined && (await live.tasks.stillOpen(task)) ? { task } : {})).grant.id)
      return
    case 'refuse':
    case 'lose': {
      const fault =
        step === 'lose'
          ? new AmbiguousMint(new VaultFault('timeout', 'GET x'))
          : new BrokerFault('engine_refused', 'no')
      live.script.mintFaults = [fault]
      const grant = await live.intend()
      ids.push(grant.id)
      await live.mint(grant).catch(() => {})
      return
    }
    case 'end': {
      const grant = await live.registry.get(ids.at(-1) ?? '')
      if (grant?.status === 'active') await live.ender.end(grant, { cause: 'revoked', by })
      return
    }
    case 'renew': {
      const grant = await live.registry.get(ids.at(-1) ?? '')
      if (grant?.status !== 'active') return
      const expires = new Date(clock.now() + 900_000).toISOString()
      await live.registry.record(grant, { ...about(grant), ...by, kind: 'grant.renewed', expires, ceilings: [] })
      return
    }
    case 'hours':
      await clock.advance(2 * 3600_000)
      return
    case 'task': {
      const about = {
        workload: 'checkout',
        owner: 'payments',
        purpose: 'read-orders',
        environment: 'prod',
        intent: 'i',
      }
      tasks.push((await opened(live, { ...about, expiresAtMs: clock.now() + 86_400_000 }, by)).id)
      return
    }
    case 'endTask': {
      const open = task === undefined ? undefined : await live.tasks.get(task)
      if (open?.status === 'open') await live.tasks.end(open, { cause: 'holder', by })
      return
    }
    default:
      await clock.advance(1_000)
  }
}
