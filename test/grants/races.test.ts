import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BrokerFault } from '../../src/base/errors.ts'
import { timeText } from '../../src/contract/fields.ts'
import { AmbiguousMint, VaultFault } from '../../src/engines/faults.ts'
import { about } from '../../src/grants/end.ts'
import type { Grant } from '../../src/grants/grant.ts'
import { replay } from '../../src/grants/replay.ts'
import type { EntryBody } from '../../src/ledger/entry.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { factOf } from '../../src/ledger/verify/fact.ts'
import { createMeaning } from '../../src/ledger/verify/meaning.ts'
import { type FakeClock, fakeClock } from '../support/clock.ts'
import { by, grantsStage } from '../support/grants.ts'
import { collect, ledgerInFolder } from '../support/ledger.ts'

const renewedEntry = (grant: Grant): Extract<EntryBody, { kind: 'grant.renewed' }> => ({
  ...about(grant),
  ...by,
  kind: 'grant.renewed',
  expires: timeText((grant.expiresAtMs ?? 0) + 60_000),
  ceilings: [],
})

/** Lets time pass until the promise has settled, whichever way. */
async function whileTimePasses(clock: FakeClock, running: Promise<unknown>): Promise<void> {
  let over = false
  void running
    .catch(() => {})
    .finally(() => {
      over = true
    })
  while (!over) await clock.advance(50)
}

describe('one caller races another on the same grant', () => {
  let clock: FakeClock
  let ledger: FileLedger
  let stage: ReturnType<typeof grantsStage>
  let leave: () => Promise<void>
  /** Runs before the entry it returns true for is handed to the ledger. */
  let hold: ((body: EntryBody) => Promise<void> | undefined) | undefined

  beforeEach(async () => {
    clock = fakeClock()
    hold = undefined
    const opened = await ledgerInFolder({ clock })
    ledger = opened.ledger
    leave = opened.close
    const held: Ledger = {
      ...ledger,
      async append(body) {
        await hold?.(body)
        return ledger.append(body)
      },
    }
    stage = grantsStage(held, clock)
  })
  afterEach(() => leave())

  /** The record can be read by the next start and has nothing an auditor would call impossible. */
  async function recordIsSound(): Promise<void> {
    const meaning = createMeaning()
    const stored = await collect(ledger.read(0))
    expect(stored.flatMap(({ entry }) => meaning.next(factOf(entry)))).toEqual([])
    const again = grantsStage(ledger, clock)
    await replay({ ...again, entries: ledger.read(0), clock })
  }

  test('a renewal that comes back after the grant was handed back is not recorded, so the next start succeeds', async () => {
    const { grant } = await stage.issue()
    await stage.ender.end(grant, { cause: 'handed_back', by })
    await expect(stage.registry.record(grant, renewedEntry(grant))).rejects.toMatchObject({ code: 'state_conflict' })
    await recordIsSound()
  })

  test('a hand-back whose entry is on its way keeps a renewal from being recorded after it', async () => {
    const { grant } = await stage.issue()
    let release = (): void => {}
    hold = (body) => (body.kind === 'grant.ending' ? new Promise((resolve) => (release = resolve)) : undefined)
    const ended = stage.ender.end(grant, { cause: 'handed_back', by })
    await clock.advance(1)
    const renewed = stage.registry.record(grant, renewedEntry(grant)).then(
      () => 'recorded',
      (fault: BrokerFault) => fault.code,
    )
    await clock.advance(1)
    release()
    await whileTimePasses(clock, ended)
    expect(await renewed).toBe('state_conflict')
    await recordIsSound()
  })

  test('a switch pulled just as a mint is refused records no order to end what has failed', async () => {
    const minting = await stage.intend()
    let release = (): void => {}
    hold = (body) => (body.kind === 'grant.failed' ? new Promise((resolve) => (release = resolve)) : undefined)
    stage.script.mintFaults = [new BrokerFault('engine_refused', 'no')]
    const minted = stage.mint(minting)
    minted.catch(() => {})
    await clock.advance(1)
    const ended = stage.ender.end(minting, { cause: 'kill_switch', by })
    await clock.advance(20)
    release()
    await whileTimePasses(clock, ended)
    await expect(minted).rejects.toMatchObject({ code: 'engine_refused' })
    expect(await ended).toMatchObject({ outcome: 'failed' })
    await recordIsSound()
  })

  test('a mint that comes back after it was given up as lost leaves no lease and no secret', async () => {
    const minting = await stage.intend()
    let release = (): void => {}
    stage.script.beforeAnswer = () => new Promise((resolve) => (release = resolve))
    const minted = stage.mint(minting)
    minted.catch(() => {})
    await clock.advance(1)
    const lease = [...stage.script.leases]
    expect(lease).toHaveLength(1)
    await clock.advance(120_000)
    // The list of Vault does not show it yet: the sweep finds nothing to revoke.
    stage.script.leases.clear()
    await whileTimePasses(clock, stage.sweep.once())
    for (const id of lease) stage.script.leases.add(id)
    release()
    await expect(minted).rejects.toMatchObject({ code: 'state_conflict' })
    expect(stage.script.leases.size).toBe(0)
    await recordIsSound()
  })

  test('a mint of unknown outcome that was told to end is settled, and its place under the limits comes back', async () => {
    stage.script.mintFaults = [new AmbiguousMint(new VaultFault('timeout', 'GET database/creds/orders-ro'))]
    const lost = await stage.intend()
    await expect(stage.mint(lost)).rejects.toThrow(AmbiguousMint)
    const ended = stage.ender.end(lost, { cause: 'kill_switch', by })
    await whileTimePasses(clock, ended)
    await expect(ended).rejects.toMatchObject({ code: 'vault_unavailable' })
    for (let round = 0; round < 6; round++) {
      await clock.advance(60_000)
      await whileTimePasses(clock, stage.sweep.once())
    }
    expect((await stage.registry.get(lost.id))?.status).toBe('ended')
    expect(stage.script.leases.size).toBe(0)
    expect(await stage.registry.counters('checkout', 'read-orders')).toMatchObject({ active: 0 })
    await recordIsSound()
  })

  test('an end whose outcome could not be recorded for a moment is tried again by the sweep', async () => {
    const { grant } = await stage.issue()
    let full = true
    hold = (body) =>
      full && body.kind === 'grant.ended'
        ? Promise.reject(new BrokerFault('ledger_unavailable', 'too many entries wait for the disk of the ledger'))
        : undefined
    await expect(stage.ender.end(grant, { cause: 'revoked', by })).rejects.toMatchObject({ code: 'ledger_unavailable' })
    full = false
    for (let round = 0; round < 3; round++) {
      await clock.advance(60_000)
      await whileTimePasses(clock, stage.sweep.once())
    }
    expect(await stage.registry.get(grant.id)).toMatchObject({ status: 'ended', outcome: 'revoked' })
    await recordIsSound()
  })
})
