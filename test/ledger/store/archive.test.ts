import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { FileLedger } from '../../../src/ledger/store/file.ts'
import { eventually } from '../../support/child.ts'
import { type FakeClock, fakeClock } from '../../support/clock.ts'
import { numberedEntry } from '../../support/entries.ts'
import { faultyDisk } from '../../support/faulty-disk.ts'
import { collect, openTestLedger, published, withFolder } from '../../support/ledger.ts'

const actor = { type: 'broker', reason: 'test' } as const

async function grow(ledger: FileLedger, clock: FakeClock, count: number): Promise<void> {
  for (let done = 0; done < count; done += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, n) => ledger.append(numberedEntry(done + n))))
  }
  await published(ledger, clock)
}

const bundlesIn = async (dir: string): Promise<string[]> =>
  (await readdir(join(dir, 'tile/entries')).catch(() => [])).filter((name) => /^\d{3}$/.test(name)).sort()

const firstSegment = async (dir: string): Promise<number> =>
  Number((await readdir(join(dir, 'segments'))).sort()[0]?.slice(0, 20))

/** A ledger of 1,200 entries whose first 1,024 are in tiles alone. */
const withLong = (use: (ledger: FileLedger, at: { dir: string; archive: string; clock: FakeClock }) => Promise<void>) =>
  withFolder(async (folder) => {
    const [dir, archive, clock] = [join(folder, 'ledger'), join(folder, 'cheap', 'disk'), fakeClock()]
    const ledger = await openTestLedger(dir, { clock, archive, segmentBytes: 15_000 })
    await grow(ledger, clock, 600)
    await grow(ledger, clock, 600)
    await eventually(async () => (await firstSegment(dir)) > 800 || undefined, 'that segments have gone')
    await use(ledger, { dir, archive, clock })
    await ledger.close()
  })

describe('an archive', () => {
  it('takes full bundles over, says so on record, and what was in them can still be read, also after a restart', () =>
    withLong(async (ledger, { dir, archive, clock }) => {
      const before = await collect(ledger.read(0))
      expect(await ledger.archive({ before: 700, actor })).toEqual({ from: 0, to: 512, bundles: 2 })
      expect(await bundlesIn(archive)).toEqual(['000', '001'])
      expect((await bundlesIn(dir))[0]).toBe('002')
      const after = await collect(ledger.read(0))
      expect(after.slice(0, -1)).toEqual(before)
      expect(after.at(-1)?.entry).toMatchObject({ kind: 'config.archived', from: 0, to: 512, bundles: 2, actor })
      expect(await ledger.tile({ level: 'entries', n: 0, width: 7 })).toBeDefined()
      expect(await ledger.archive({ before: 700, actor })).toEqual({ from: 512, to: 512, bundles: 0 })
      expect(await ledger.archive({ before: 1e9, actor })).toMatchObject({ from: 512, to: 768 })
      await ledger.close()
      const again = await openTestLedger(dir, { clock, archive })
      expect((await collect(again.read(0))).slice(0, before.length)).toEqual(before)
      expect((await again.get(3))?.index).toBe(3)
      await again.close()
      const without = await openTestLedger(dir, { clock })
      await expect(without.get(3)).rejects.toMatchObject({ code: 'ledger_unavailable' })
      await without.close()
    }))

  it('leaves every bundle in at least one place when it fails at any operation, and can be done again', () =>
    withLong(async (ledger, { dir, archive, clock }) => {
      const known = await collect(ledger.read(0))
      await ledger.close()
      for (let failAt = 0, failed = true; failed; failAt++) {
        let operation = -1
        const fs = faultyDisk(() => (operation >= 0 && operation++ === failAt ? 'fail' : 'do'))
        const each = await openTestLedger(dir, { clock, archive, fs })
        operation = 0
        failed = await each.archive({ before: 600, actor }).then(
          () => false,
          () => true,
        )
        operation = -1
        await each.close()
        const reopened = await openTestLedger(dir, { clock, archive })
        expect((await collect(reopened.read(0))).slice(0, known.length)).toEqual(known)
        await reopened.close()
      }
      expect(await bundlesIn(archive)).toEqual(['000', '001'])
    }))

  it('is refused where no folder is named, and twice at once', () =>
    withLong(async (ledger, { dir, clock }) => {
      const both = await Promise.allSettled([1, 2].map(() => ledger.archive({ before: 600, actor })))
      expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
      await ledger.close()
      const plain = await openTestLedger(dir, { clock })
      await expect(plain.archive({ before: 600, actor })).rejects.toMatchObject({ code: 'state_conflict' })
      await plain.close()
    }))
})
