import { cp, readFile, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Position } from '../../src/ledger/ledger.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { eventually } from '../support/child.ts'
import { fakeClock } from '../support/clock.ts'
import { numberedEntry } from '../support/entries.ts'
import { faultyDisk, type Operation, type Verdict } from '../support/faulty-disk.ts'
import { collect, crashedLedger, openTestLedger, segmentFile, testKey, withFolder } from '../support/ledger.ts'

const { vkey } = testKey
const unavailable = { name: 'BrokerFault', code: 'ledger_unavailable' }

interface Run {
  readonly operations: readonly Operation[]
  readonly acknowledged: readonly Position[]
  /** The newest checkpoint the ledger said is on disk. */
  readonly checkpoint: string | undefined
}

/** A short life of a ledger with everything in it: making or recovering, batches, new segments, checkpoints, closing. */
async function live(dir: string, faultAt: number, fault: Verdict, segmentBytes = 700): Promise<Run> {
  const operations: Operation[] = []
  const disk = faultyDisk((operation) => {
    operations.push(operation)
    return operations.length - 1 === faultAt ? fault : 'do'
  })
  const clock = fakeClock()
  const acknowledged: Position[] = []
  let ledger: FileLedger
  try {
    ledger = await openTestLedger(dir, { fs: disk, clock, segmentBytes, checkpointIntervalMs: 100 })
  } catch (error) {
    expect(error).toMatchObject(unavailable)
    return { operations, acknowledged, checkpoint: undefined }
  }
  for (let batch = 0; batch < 4; batch++) {
    const appends = await Promise.allSettled([0, 1, 2].map((n) => ledger.append(numberedEntry(batch * 3 + n))))
    for (const append of appends) {
      if (append.status === 'fulfilled') acknowledged.push(append.value)
      else expect(append.reason).toMatchObject(unavailable)
    }
    if (batch === 1 || (batch === 2 && segmentBytes > 700)) await publish(ledger, clock.advance)
  }
  await ledger.close()
  return { operations, acknowledged, checkpoint: ledger.checkpoint() }
}

/** Lets time pass until the ledger has signed again, or has failed. */
async function publish(ledger: FileLedger, advance: (ms: number) => Promise<void>): Promise<void> {
  const before = ledger.checkpoint()
  let failed = false
  void ledger.failed.then(() => {
    failed = true
  })
  await advance(100)
  await eventually(async () => failed || ledger.checkpoint() !== before || undefined, 'a new checkpoint')
}

async function expectNothingLost(dir: string, run: Run, before: number): Promise<void> {
  const ledger = await openTestLedger(dir)
  const entries = await collect(ledger.read(0))
  await ledger.close()
  expect(entries.length).toBeGreaterThanOrEqual(before)
  for (const { index, leafHash } of run.acknowledged) expect(entries[index]?.leafHash).toBe(leafHash)
  const since = run.checkpoint
  expect(await verifyLedger({ dir, vkey, ...(since !== undefined && { since }) })).toMatchObject({ ok: true })
}

const kinds: readonly Verdict[] = ['fail', 'short']

describe('a disk that fails once', () => {
  it.each(kinds)(
    'at any single operation (%s) of a new ledger costs no acknowledged entry',
    { timeout: 120_000 },
    (fault) =>
      withFolder(async (folder) => {
        const { operations, acknowledged } = await live(join(folder, 'whole'), -1, 'do')
        expect(acknowledged).toHaveLength(12)
        expect(new Set(operations.map(({ verb }) => verb))).toEqual(
          new Set(['open', 'write', 'sync', 'datasync', 'rename', 'unlink']),
        )
        for (let at = 0; at < operations.length; at++) {
          if (fault === 'short' && operations[at]?.verb !== 'write') continue
          const dir = join(folder, String(at))
          await expectNothingLost(dir, await live(dir, at, fault), 0)
        }
      }),
  )

  it.each(kinds)(
    'at any single operation (%s) while segments are written ahead costs no acknowledged entry',
    { timeout: 120_000 },
    (fault) =>
      withFolder(async (folder) => {
        // So large that half of it is full well before the next one is needed.
        const segmentBytes = 1200
        const { operations, acknowledged } = await live(join(folder, 'whole'), -1, 'do', segmentBytes)
        expect(acknowledged).toHaveLength(12)
        expect(operations.filter(({ verb, path }) => verb === 'rename' && path.endsWith('.log'))).toHaveLength(1)
        expect(operations.map(({ verb }) => verb)).toContain('truncate')
        for (let at = 0; at < operations.length; at++) {
          if (fault === 'short' && operations[at]?.verb !== 'write') continue
          const dir = join(folder, String(at))
          await expectNothingLost(dir, await live(dir, at, fault, segmentBytes), 0)
        }
      }),
  )

  it.each(kinds)(
    'at any single operation (%s) of a recovery costs no acknowledged entry',
    { timeout: 120_000 },
    (fault) =>
      withFolder(async (folder) => {
        const crashed = join(folder, 'crashed')
        await crashedLedger(crashed, [[numberedEntry(0), numberedEntry(1)], [numberedEntry(2)]])
        await truncate(segmentFile(crashed), (await readFile(segmentFile(crashed))).length - 5)
        const copyTo = async (name: string): Promise<string> => {
          await cp(crashed, join(folder, name), { recursive: true })
          return join(folder, name)
        }
        const { operations } = await live(await copyTo('whole'), -1, 'do')
        expect(operations.map(({ verb }) => verb)).toContain('truncate')
        for (let at = 0; at < operations.length; at++) {
          if (fault === 'short' && operations[at]?.verb !== 'write') continue
          const dir = await copyTo(String(at))
          await expectNothingLost(dir, await live(dir, at, fault), 2)
        }
      }),
  )
})

describe('a failed fdatasync', () => {
  it('is never tried again: the ledger writes nothing more and says that it failed', () =>
    withFolder(async (dir) => {
      const operations: Operation[] = []
      let failing = false
      const disk = faultyDisk((operation) => {
        operations.push(operation)
        return failing && operation.verb === 'datasync' ? 'fail' : 'do'
      })
      const ledger = await openTestLedger(dir, { fs: disk })
      await ledger.append(numberedEntry(0))
      failing = true
      const first = ledger.append(numberedEntry(1))
      await expect(first).rejects.toMatchObject(unavailable)
      failing = false
      operations.length = 0
      await expect(ledger.append(numberedEntry(2))).rejects.toMatchObject(unavailable)
      expect(await ledger.failed).toMatchObject(unavailable)
      await ledger.close()
      expect(operations).toEqual([])
    }))

  it('rejects the entries of its batch and those that came while it ran, and no others', () =>
    withFolder(async (dir) => {
      const release = Promise.withResolvers<void>()
      let armed = false
      const disk = faultyDisk(({ verb }) => (armed && verb === 'datasync' ? 'fail' : 'do'), release.promise)
      const ledger = await openTestLedger(dir, { fs: disk })
      const before = await ledger.append(numberedEntry(0))
      armed = true
      const batch = [1, 2].map((n) => ledger.append(numberedEntry(n)))
      await new Promise((resolve) => setImmediate(resolve))
      const waiting = [3, 4].map((n) => ledger.append(numberedEntry(n)))
      release.resolve()
      const outcomes = await Promise.allSettled([...batch, ...waiting])
      expect(outcomes.map(({ status }) => status)).toEqual(Array(4).fill('rejected'))
      expect(before.index).toBe(0)
      expect(ledger.head().size).toBe(1)
      await ledger.close()
    }))
})
