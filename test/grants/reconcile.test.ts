import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { VaultFault } from '../../src/engines/faults.ts'
import { mostAskedSingly } from '../../src/grants/compare.ts'
import { replay } from '../../src/grants/replay.ts'
import type { Entry } from '../../src/ledger/entry.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { factOf } from '../../src/ledger/verify/fact.ts'
import { createMeaning } from '../../src/ledger/verify/meaning.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { by, grantsStage } from '../support/grants.ts'
import { collect, ledgerInFolder } from '../support/ledger.ts'

const stray = (name: string): string => `database/creds/orders-ro/${name}`
const away = () => new VaultFault('unreachable', 'no connection to Vault')

describe('reconciling', () => {
  let clock: FakeClock
  let ledger: FileLedger
  let stage: ReturnType<typeof grantsStage>
  let leave: () => Promise<void>
  beforeEach(async () => {
    clock = fakeClock()
    const opened = await ledgerInFolder({ clock })
    ledger = opened.ledger
    leave = opened.close
    stage = staged()
  })
  afterEach(() => leave())

  function staged(...rest: [typeof stage?, Parameters<typeof grantsStage>[3]?]): ReturnType<typeof grantsStage> {
    const [over, vault] = rest
    const made = grantsStage(ledger, clock, over, vault)
    ledger.subscribe(made.findings.see)
    return made
  }
  /** The process is killed and starts again on the same ledger and Vault. */
  async function restarted(vault = stage.vault): Promise<void> {
    const next = staged(stage, vault)
    await replay({ ...next, entries: ledger.read(0), clock, recall: async (stored) => next.findings.see(stored) })
    stage = next
  }
  const entries = async (kind?: Entry['kind']): Promise<Entry[]> =>
    (await collect(ledger.read(0)))
      .map(({ entry }) => entry)
      .filter((entry) => kind === undefined || entry.kind === kind)
  const leaseOf = (): string => [...stage.script.leases].at(-1) ?? ''
  const status = async (id: string) => (await stage.registry.get(id))?.status

  describe('a grant whose secret has ended in Vault', () => {
    test('is ended as gone, with what can be told of why, and the record still tells a story', async () => {
      const { grant } = await stage.issue()
      const kept = await stage.issue()
      stage.script.leases.delete(stray('1'))
      const result = await stage.reconcile()
      expect(result).toMatchObject({ complete: true, leases: 1, gone: 1, orphans: 0 })
      expect(result.gone_grants).toEqual([
        {
          grant: grant.id,
          credential: 'orders-ro',
          detail: expect.stringContaining('Vault no longer knows the lease'),
        },
      ])
      expect(await stage.registry.get(grant.id)).toMatchObject({
        status: 'ended',
        outcome: 'gone',
        cause: 'found_gone',
      })
      expect(await status(kept.grant.id)).toBe('active')
      const [ended] = await entries('grant.ended')
      expect(ended).toMatchObject({ grant: grant.id, cause: 'found_gone', outcome: 'gone', actor: by.actor })
      expect(await entries('grant.ending')).toEqual([])
      const meaning = createMeaning()
      for (const { entry } of await collect(ledger.read(0))) expect(meaning.next(factOf(entry))).toEqual([])
    })

    test.each([
      ['older than the token of the broker', 600_000, 'most likely ended with that token'],
      ['younger than it', -600_000, 'so somebody revoked it'],
      ['of about its age', 1_000, 'it was to live until'],
    ])('and %s says so', async (_, laterMs, said) => {
      await stage.issue()
      stage.script.leases.clear()
      stage = staged(stage, { tokenSinceMs: clock.now() + laterMs })
      await replay({ ...stage, entries: ledger.read(0), clock })
      const [gone] = (await stage.reconcile()).gone_grants
      expect(gone?.detail).toContain(said)
      if (laterMs === 1_000) expect(gone?.detail).not.toContain('token')
    })

    test('is not taken for gone because a list, or a look at it, failed', async () => {
      const { grant } = await stage.issue()
      stage.script.leases.clear()
      stage.script.listFaults = [away()]
      expect(await stage.reconcile()).toMatchObject({
        complete: false,
        gone: 0,
        roles: [{ problem: 'no connection to Vault' }],
      })
      stage.script.lookUpFaults = [away()]
      const unseen = await stage.reconcile()
      expect(unseen).toMatchObject({ complete: false, gone: 0 })
      expect(unseen.roles[0]?.problem).toContain('1 of its leases could not be looked at')
      expect(await status(grant.id)).toBe('active')
      expect(await stage.reconcile()).toMatchObject({ complete: true, gone: 1 })
    })

    test('is believed of a standby only when it says so twice, half a minute apart', async () => {
      stage = staged(stage, { standby: true })
      const { grant } = await stage.issue()
      stage.script.leases.clear()
      expect(await stage.reconcile()).toMatchObject({ gone: 0, roles: [{ unproved: 1 }] })
      await clock.advance(20_000)
      expect(await stage.reconcile()).toMatchObject({ gone: 0, roles: [{ unproved: 1 }] })
      await clock.advance(20_000)
      expect(await stage.reconcile()).toMatchObject({ gone: 1, roles: [{ unproved: 0 }] })
      expect(await status(grant.id)).toBe('ended')
    })

    test('is left to its expiry when that is seconds away, and to its own end when that is under way', async () => {
      const { grant } = await stage.issue()
      await clock.advance(895_000)
      stage.script.leases.clear()
      expect(await stage.reconcile()).toMatchObject({ gone: 0 })
      const other = await stage.issue()
      stage.script.leases.clear()
      stage.script.beforeLookUp = async () => void (await stage.ender.end(other.grant, { cause: 'revoked', by }))
      expect(await stage.reconcile()).toMatchObject({ gone: 0 })
      expect(await stage.registry.get(other.grant.id)).toMatchObject({ outcome: 'revoked', cause: 'revoked' })
      expect(await status(grant.id)).toBe('active')
    })

    test('that no list shows is asked about one by one, some in each round of the interval and all on demand', async () => {
      stage.script.listsNothing = true
      const extra = 40
      await Promise.all(Array.from({ length: mostAskedSingly + extra }, () => stage.issue()))
      stage.reconciler.start()
      await clock.advance(0)
      while ((stage.reconciler.totals().last?.took_ms ?? -1) < 0) await clock.advance(1)
      expect(new Set(stage.script.lookUps).size).toBe(mostAskedSingly)
      await clock.advance(300_000)
      while (stage.reconciler.totals().rounds.complete < 2) await clock.advance(1)
      expect(new Set(stage.script.lookUps).size).toBe(mostAskedSingly + extra)
      await stage.reconciler.stop()
      expect(await entries('reconcile.completed')).toEqual([])
    })
  })

  describe('a lease that no grant accounts for', () => {
    test('is only counted in a dry run, which is on record all the same', async () => {
      const { grant } = await stage.issue()
      stage.script.leases.clear()
      stage.script.leases.add(stray('made-by-hand'))
      const result = await stage.reconcile({ dryRun: true })
      expect(result).toMatchObject({ dry_run: true, orphans: 1, gone: 1, orphan_leases: [{ credential: 'orders-ro' }] })
      expect(stage.script.leases.size).toBe(1)
      expect(await status(grant.id)).toBe('active')
      expect((await entries()).slice(2)).toMatchObject([
        { kind: 'reconcile.completed', dry_run: true, orphans: 1, gone: 1 },
      ])
      expect(stage.reconciler.totals()).toMatchObject({ orphans: 0, gone: 0, last: undefined })
    })

    test('in a role that others use is a finding, opened once and closed when it is gone, across a restart', async () => {
      stage = staged(stage, { exclusive: false })
      stage.script.leases.add(stray('theirs'))
      expect(await stage.reconcile()).toMatchObject({ orphans: 0, foreign: 1, findings: { opened: 1, closed: 0 } })
      expect(await stage.reconcile()).toMatchObject({ foreign: 1, findings: { opened: 0, closed: 0 } })
      await restarted()
      expect(await stage.reconcile()).toMatchObject({ foreign: 1, findings: { opened: 0, closed: 0 } })
      // Nothing was learnt about the role, so nothing is over.
      stage.script.listFaults = [away()]
      expect(await stage.reconcile()).toMatchObject({ complete: false, findings: { closed: 0 } })
      stage.script.leases.clear()
      expect(await stage.reconcile()).toMatchObject({ foreign: 0, findings: { opened: 0, closed: 1 } })
      expect(await entries('finding.opened')).toMatchObject([{ finding: 'stray-lease-orders-ro', severity: 'warning' }])
      expect(await entries('finding.closed')).toMatchObject([{ finding: 'stray-lease-orders-ro' }])
    })

    test('is revoked where one of many cannot be, and that one is tried again', async () => {
      for (const name of ['a', 'b', 'c']) stage.script.leases.add(stray(name))
      stage.script.revokeFaults = [new VaultFault('rejected', 'revocation failed')]
      expect(await stage.reconcile()).toMatchObject({ complete: false, orphans: 2 })
      expect(stage.script.leases.size).toBe(1)
      expect(await stage.reconcile()).toMatchObject({ complete: true, orphans: 1 })
    })

    test('is revoked while grants of a dropped Credential live; what others may have is spared once nobody remembers', async () => {
      await stage.issue()
      await stage.reconcile()
      const named = stage
      stage.vault.credentials = []
      stage.script.leases.add(stray('lost'))
      expect(await named.reconcile()).toMatchObject({ orphans: 1, roles: [{ credentials: ['orders-ro'] }] })
      await restarted()
      stage.script.leases.add(stray('lost'))
      expect(await stage.reconcile()).toMatchObject({ orphans: 0, foreign: 1, roles: [{ credentials: [] }] })
      expect(await entries('finding.opened')).toMatchObject([{ finding: 'stray-lease-database/orders-ro' }])
    })

    test('stops being looked for when Vault is ill, so that it is not hammered', async () => {
      for (let i = 0; i < 200; i++) stage.script.leases.add(stray(`s${i}`))
      stage.script.lookUpFaults = Array.from({ length: 200 }, away)
      const { complete, roles } = await stage.reconcile()
      expect(complete).toBe(false)
      expect(roles[0]?.problem).toContain('so the rest was left')
      expect(stage.script.lookUps.length).toBeLessThan(30)
    })
  })

  test('two rounds that are asked for do not run at once', async () => {
    let release = (): void => {}
    stage.script.afterList = () => new Promise((resolve) => (release = resolve))
    const first = stage.reconcile()
    await clock.advance(0)
    expect(stage.reconciler.status().running).toMatchObject({ trigger: 'demand', roles: 1, roles_done: 0 })
    expect(await stage.reconciler.demand({ dryRun: false, by })).toMatchObject({
      ok: false,
      refusal: { code: 'state_conflict' },
    })
    release()
    expect(await first).toMatchObject({ complete: true })
    expect(stage.reconciler.status()).toMatchObject({ running: null, last: { trigger: 'demand' } })
  })

  test('rounds of the interval go on by themselves, sooner after one that failed, and are on record when they changed something', async () => {
    stage.script.listFaults = [away()]
    stage.reconciler.start()
    const rounds = async (complete: number, incomplete: number) => {
      await clock.advance(1)
      expect(stage.reconciler.totals().rounds).toEqual({ complete, incomplete })
    }
    await rounds(0, 1)
    stage.script.leases.add(stray('made-by-hand'))
    await clock.advance(30_000)
    for (let i = 0; i < 100 && stage.script.leases.size > 0; i++) await clock.advance(1)
    await expect.poll(() => stage.reconciler.totals().rounds.complete).toBe(1)
    await clock.advance(290_000)
    await rounds(1, 1)
    await clock.advance(10_000)
    await rounds(2, 1)
    await stage.reconciler.stop()
    expect(await entries('reconcile.completed')).toMatchObject([{ trigger: 'interval', orphans: 1 }])
    expect(leaseOf()).toBe('')
  })
})
