import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { silentLog } from '../../../src/base/log.ts'
import type { FileLedger } from '../../../src/ledger/store/file.ts'
import { createRestart } from '../../../src/ledger/store/restart.ts'
import { type FakeClock, fakeClock } from '../../support/clock.ts'
import { numberedEntry } from '../../support/entries.ts'
import { collect, openTestLedger, published, withFolder } from '../../support/ledger.ts'

const key = new Uint8Array(32).fill(3)

async function grow(ledger: FileLedger, clock: FakeClock, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, n) => ledger.append(numberedEntry(n))))
  await published(ledger, clock)
}

/** Runs `use` with a ledger of 700 entries that let its first segments go and whose entries 3, 300 and 650 still matter. */
const withPoint = (use: (ledger: FileLedger, dir: string, clock: FakeClock) => Promise<void>) =>
  withFolder(async (dir) => {
    const clock = fakeClock()
    const ledger = await openTestLedger(dir, { clock, segmentBytes: 20_000 })
    await grow(ledger, clock, 350)
    await grow(ledger, clock, 350)
    const list = () => Float64Array.of(3, 300, 300, 650, 9000)
    await createRestart({ dir, ledger, key, log: silentLog }).follow(list).stop()
    await use(ledger, dir, clock)
    await ledger.close()
  })

const indexesRead = async (dir: string, ledger: FileLedger, own = key): Promise<number[]> =>
  (await collect(createRestart({ dir, ledger, key: own, log: silentLog }).entries())).map(({ index }) => index)

const all = (size: number): number[] => Array.from({ length: size }, (_, i) => i)

describe('a restart', () => {
  it('reads what mattered at the saved point and all that came after it', () =>
    withPoint(async (ledger, dir, clock) => {
      expect(await indexesRead(dir, ledger)).toEqual([3, 300, 650])
      await grow(ledger, clock, 2)
      expect(await indexesRead(dir, ledger)).toEqual([3, 300, 650, 700, 701])
    }))

  it('reads everything without a saved point', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir)
      await ledger.append(numberedEntry(0))
      expect(await indexesRead(dir, ledger)).toEqual([0])
      await ledger.close()
    }))

  it.each([
    ['altered in any byte', (bytes: Buffer) => bytes.fill(bytes[200] === 65 ? 66 : 65, 200, 201)],
    ['cut short', (bytes: Buffer) => bytes.subarray(0, 100)],
    ['empty', () => Buffer.of()],
  ])('reads everything when the saved point is %s', (_, change) =>
    withPoint(async (ledger, dir) => {
      const path = join(dir, 'restart')
      await writeFile(path, change(await readFile(path)))
      expect(await indexesRead(dir, ledger)).toEqual(all(700))
    }),
  )

  it('reads everything when the point was saved by another broker, or of another log', () =>
    withPoint(async (ledger, dir) => {
      expect(await indexesRead(dir, ledger, new Uint8Array(32).fill(4))).toEqual(all(700))
      await withFolder(async (other) => {
        const clock = fakeClock(Date.UTC(2031, 0, 1))
        const stranger = await openTestLedger(other, { clock })
        await grow(stranger, clock, 701)
        await writeFile(join(other, 'restart'), await readFile(join(dir, 'restart')))
        expect(await indexesRead(other, stranger)).toEqual(all(701))
        await stranger.close()
      })
    }))

  it('reads everything when the ledger is shorter than the saved point', () =>
    withPoint(async (_, dir) =>
      withFolder(async (other) => {
        const clock = fakeClock()
        const shorter = await openTestLedger(other, { clock })
        await grow(shorter, clock, 5)
        await writeFile(join(other, 'restart'), await readFile(join(dir, 'restart')))
        expect(await indexesRead(other, shorter)).toEqual(all(5))
        await shorter.close()
      }),
    ))
})
