import { readdir, readFile, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { FileLedger } from '../../../src/ledger/store/file.ts'
import { type FakeClock, fakeClock } from '../../support/clock.ts'
import { numberedEntry } from '../../support/entries.ts'
import { openTestLedger, published, segmentFile, withFolder } from '../../support/ledger.ts'
import { edit, flipped, smallEntries, verifyDir } from '../../support/log-folder.ts'
import { rawRecord, writeRawLedger } from '../../support/raw-ledger.ts'
import { tileLog } from '../../support/tile-log.ts'

const firstSegment = async (dir: string): Promise<number> =>
  Number((await readdir(join(dir, 'segments'))).sort()[0]?.slice(0, 20))

/** Appends entries and has them signed. */
async function grow(ledger: FileLedger, clock: FakeClock, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, n) => ledger.append(numberedEntry(n))))
  await published(ledger, clock)
}

/** A folder of the real ledger whose older segments are gone, as they go while a broker runs. */
const withRetired = (use: (dir: string, inSegments: number) => Promise<void>): Promise<void> =>
  withFolder(async (dir) => {
    const clock = fakeClock()
    const ledger = await openTestLedger(dir, { clock, segmentBytes: 15_000 })
    for (let i = 0; i < 8; i++) await grow(ledger, clock, 100)
    await ledger.close()
    await use(dir, await firstSegment(dir))
  })

describe('the folder of a ledger', () => {
  it('whose older segments went is verified, and each record that is left must be the entry in its bundle', () =>
    withRetired(async (dir, inSegments) => {
      expect(inSegments).toBeGreaterThan(0)
      expect(await verifyDir(dir)).toMatchObject({ ok: true, entries: 800, unsigned: 0 })
      // Another entry with a right checksum, as only somebody who means it writes one.
      await edit(segmentFile(dir, inSegments), (bytes) => {
        const length = 16 + bytes.readUInt32BE(24)
        const payload = bytes.toString('utf8', 36, 20 + length).replace('"n', '"m')
        return Buffer.concat([bytes.subarray(0, 20), rawRecord(payload, inSegments), bytes.subarray(20 + length)])
      })
      const path = `segments/${String(inSegments).padStart(20, '0')}.log`
      const { ok, problems } = await verifyDir(dir)
      expect({ ok, problems }).toMatchObject({ ok: false, problems: [{ rule: 'segment', index: inSegments, path }] })
      expect(problems[0]?.message).toMatch(
        new RegExp(`^entry ${inSegments} in ${path} is not the one in tile/entries/`),
      )
    }))

  it('is verified without its segments, and says of a segment that is missing in between', () =>
    withFolder(async (dir) => {
      await writeRawLedger(dir, smallEntries(300), { segments: [0, 100, 200] })
      await unlink(segmentFile(dir, 100))
      const { ok, problems } = await verifyDir(dir)
      expect({ ok, problems }).toMatchObject({ ok: false, problems: [{ rule: 'segment', index: 100 }] })
      await rm(join(dir, 'segments'), { recursive: true })
      expect(await verifyDir(dir)).toMatchObject({ ok: true, entries: 300, unsigned: 0 })
    }))

  it('that lacks a bundle which segments still hold says both', () =>
    withFolder(async (dir) => {
      await writeRawLedger(dir, smallEntries(300))
      await unlink(join(dir, 'tile/entries/000'))
      const { ok, problems } = await verifyDir(dir)
      expect(ok).toBe(false)
      expect(problems).toEqual([
        expect.objectContaining({
          rule: 'bundle',
          index: 0,
          path: 'tile/entries/000',
          message: 'tile/entries/000 is missing (entries 0 to 255, and segments still hold them)',
        }),
      ])
    }))

  it('counts what is not signed for yet, checks it too, and takes an unfinished write at the end for none', () =>
    withFolder(async (dir) => {
      const entries = smallEntries(260)
      await writeRawLedger(dir, entries.slice(0, 257), { unsigned: entries.slice(257), segments: [0, 200] })
      expect(await verifyDir(dir)).toMatchObject({ ok: true, entries: 260, unsigned: 3, unfinishedBytes: 0 })
      const { length } = await readFile(segmentFile(dir, 200))
      await truncate(segmentFile(dir, 200), length - 1)
      const cut = await verifyDir(dir)
      expect(cut).toMatchObject({ ok: true, entries: 259, unsigned: 2 })
      expect(cut.unfinishedBytes).toBeGreaterThan(0)
      // Shorter than what is signed for is no write that nobody was told about.
      await truncate(segmentFile(dir, 200), 30)
      const short = await verifyDir(dir)
      expect(short).toMatchObject({ ok: false, problems: [{ rule: 'segment', index: 200 }] })

      await writeRawLedger(dir, entries.slice(0, 257), { unsigned: ['{"v":1}', entries[258] ?? ''], segments: [200] })
      const { ok, problems } = await verifyDir(dir)
      expect(ok).toBe(false)
      expect(problems).toMatchObject([{ rule: 'schema', index: 257, path: `segments/${'0'.repeat(17)}200.log` }])
    }))

  it('is not made to wait or fail by what a killed writer left beyond the checkpoint', () =>
    withFolder(async (dir) => {
      const entries = smallEntries(520)
      await tileLog(entries).write(dir)
      await writeRawLedger(dir, entries.slice(0, 257), { unsigned: entries.slice(257) })
      for (const path of [
        'tile/entries/001',
        'tile/0/001',
        'tile/entries/002.p/8',
        'tile/0/002.p/8',
        'tile/1/000.p/2',
      ]) {
        await edit(join(dir, path), (bytes) => bytes.subarray(0, bytes.length >> 1))
        await writeFile(join(dir, `${path}.tmp`), 'half')
      }
      expect(await verifyDir(dir)).toMatchObject({ ok: true, entries: 520, signed: { size: 257 }, unsigned: 263 })
      // What the checkpoint covers has to be there nevertheless.
      await edit(join(dir, 'tile/0/001.p/1'), (bytes) => flipped(bytes, 0))
      expect(await verifyDir(dir)).toMatchObject({ ok: false, problems: [{ path: 'tile/0/001.p/1' }] })
      await unlink(join(dir, 'tile/0/001.p/1'))
      expect((await verifyDir(dir)).ok).toBe(false)
    }))

  it('may be written while it is verified', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const ledger = await openTestLedger(dir, { clock, segmentBytes: 8_000 })
      await grow(ledger, clock, 10)
      let verified = 0
      let atEnd = false
      const verifying = (async () => {
        while (!atEnd || verified < 5) {
          const report = await verifyDir(dir)
          expect(report.problems).toEqual([])
          expect(report.ok).toBe(true)
          verified++
        }
      })()
      for (let i = 0; i < 40; i++) await grow(ledger, clock, 37)
      atEnd = true
      await verifying
      await ledger.close()
      expect(await verifyDir(dir)).toMatchObject({ ok: true, entries: 1490, unsigned: 0 })
    }))
})
