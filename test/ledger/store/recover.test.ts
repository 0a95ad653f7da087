import { cp, readdir, readFile, rename, rm, stat, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { silentLog } from '../../../src/base/log.ts'
import type { StoredEntry } from '../../../src/ledger/ledger.ts'
import { signingKeyOf } from '../../../src/ledger/log/note.ts'
import { segmentHeaderBytes } from '../../../src/ledger/store/segments.ts'
import { fakeClock } from '../../support/clock.ts'
import { numberedEntry } from '../../support/entries.ts'
import { faultyDisk } from '../../support/faulty-disk.ts'
import { collect, crashedLedger, openTestLedger, origin, segmentFile, withFolder } from '../../support/ledger.ts'
import { rawRecord, writeRawLedger } from '../../support/raw-ledger.ts'

const single = (count: number) => Array.from({ length: count }, (_, n) => [numberedEntry(n)])
const refusal = { name: 'BrokerFault', code: 'ledger_unavailable' }

/** Where each entry of a segment begins and the last one ends, from the framing alone. */
async function boundaries(file: string): Promise<number[]> {
  const bytes = await readFile(file)
  const found = [segmentHeaderBytes]
  for (let at = segmentHeaderBytes; at < bytes.length; found.push(at)) at += 16 + bytes.readUInt32BE(at + 4)
  return found
}

/** Opens a copy of the folder after `change`, and gives what it holds then. */
async function reopened(dir: string, change: (copy: string) => Promise<void>): Promise<StoredEntry[]> {
  return withFolder(async (copy) => {
    await cp(dir, copy, { recursive: true })
    await change(copy)
    const ledger = await openTestLedger(copy)
    try {
      return await collect(ledger.read(0))
    } finally {
      await ledger.close()
    }
  })
}

describe('recovery of a ledger that a crash cut short', () => {
  it.each([
    ['each in its own batch', single(5)],
    ['all in one batch', [single(5).flat()]],
  ])(
    'at every byte of the last two of five entries, %s: exactly the whole ones remain, and the cut is recorded',
    (_, batches) =>
      withFolder(async (dir) => {
        const entries = await crashedLedger(dir, batches)
        const at = await boundaries(segmentFile(dir))
        const bytes = await readFile(segmentFile(dir))
        for (let length = at[3] ?? 0; length <= (at[5] ?? 0); length++) {
          const whole = at.filter((boundary) => boundary <= length).length - 1
          const found = await reopened(dir, (copy) => truncate(segmentFile(copy), length))
          expect(found.slice(0, whole), `length ${length}`).toEqual(entries.slice(0, whole))
          // Zeros at the very end are not told apart from those that are written ahead.
          const cut = bytes.subarray(at[whole], length).findLastIndex((byte) => byte !== 0) + 1
          expect(found.slice(whole).map(({ entry }) => entry)).toMatchObject(
            cut === 0 ? [] : [{ kind: 'config.ledger_repaired', bytes: cut }],
          )
        }
      }),
  )

  it('cuts a batch at its first damaged record even when later records of the same batch reached the disk', () =>
    withFolder(async (dir) => {
      const entries = await crashedLedger(dir, [single(2).flat(), single(4).flat()])
      const at = await boundaries(segmentFile(dir))
      const found = await reopened(dir, async (copy) => {
        const bytes = await readFile(segmentFile(copy))
        bytes.fill(0, at[3], (at[3] ?? 0) + 30)
        await writeFile(segmentFile(copy), bytes)
      })
      expect(found.slice(0, 3)).toEqual(entries.slice(0, 3))
      expect(found.slice(3).map(({ entry }) => entry.kind)).toEqual(['config.ledger_repaired'])
    }))

  it('takes zeros at the end for what they are, room that was written ahead, and cuts them off', () =>
    withFolder(async (dir) => {
      const entries = await crashedLedger(dir, single(3))
      const { size } = await stat(segmentFile(dir))
      await truncate(segmentFile(dir), size + 3_000_000)
      const ledger = await openTestLedger(dir)
      expect(await collect(ledger.read(0))).toEqual(entries)
      expect((await stat(segmentFile(dir))).size).toBe(size)
      await ledger.close()
    }))

  it.each([
    ['noise', Buffer.alloc(5000, 0xa5), 5000],
    ['noise after zeros', Buffer.concat([Buffer.alloc(3_000_000), Buffer.alloc(5, 0xa5)]), 3_000_005],
    ['noise between zeros', Buffer.concat([Buffer.alloc(5, 0xa5), Buffer.alloc(3_000_000)]), 5],
    ['a length that reaches beyond the file', Buffer.from('00000000ffffffff000000000000000000', 'hex'), 8],
  ])('cuts off %s at the end', (_, tail, cut) =>
    withFolder(async (dir) => {
      const entries = await crashedLedger(dir, single(3))
      const found = await reopened(dir, async (copy) => {
        await writeFile(segmentFile(copy), tail, { flag: 'a' })
      })
      expect(found.slice(0, 3)).toEqual(entries)
      expect(found[3]?.entry).toMatchObject({ kind: 'config.ledger_repaired', bytes: cut })
    }),
  )

  it.each([0, 1, segmentHeaderBytes - 1])(
    'makes a last segment of %d bytes, whose making was interrupted, anew',
    (length) =>
      withFolder(async (dir) => {
        const entries = await crashedLedger(dir, single(3))
        const found = await reopened(dir, (copy) => writeFile(segmentFile(copy, 3), Buffer.alloc(length)))
        expect(found.slice(0, 3)).toEqual(entries)
        expect(found).toHaveLength(length === 0 ? 3 : 4)
      }),
  )

  it('writes the last batch again and syncs it, for the page cache may show what the disk never got', () =>
    withFolder(async (dir) => {
      await crashedLedger(dir, [single(3).flat(), single(2).flat()])
      const operations: string[] = []
      const disk = faultyDisk(({ verb, path }) => {
        if (path === segmentFile(dir) && verb !== 'open') operations.push(verb)
        return 'do'
      })
      const ledger = await openTestLedger(dir, { fs: disk })
      expect(operations).toEqual(['write', 'sync'])
      await ledger.close()
    }))
})

describe('a ledger that is not as it was acknowledged', () => {
  const refused = async (dir: string, change: (copy: string) => Promise<void>): Promise<string> => {
    const fault: unknown = await reopened(dir, change).then(
      () => 'opened',
      (error: unknown) => error,
    )
    expect(fault).toMatchObject(refusal)
    return String(fault)
  }

  it('is refused with file and offset when an entry before the last batch is damaged, even without a checkpoint', () =>
    withFolder(async (dir) => {
      await crashedLedger(dir, single(4))
      const at = await boundaries(segmentFile(dir))
      const bytes = await readFile(segmentFile(dir))
      for (let offset = at[0] ?? 0; offset < (at[3] ?? 0); offset += 3) {
        const entry = at.findLastIndex((boundary) => boundary <= offset)
        const message = await refused(dir, async (copy) => {
          const changed = Buffer.from(bytes)
          changed[offset] = (changed[offset] ?? 0) ^ 0x10
          await writeFile(segmentFile(copy), changed)
        })
        expect(message).toContain(`.log is damaged at offset ${at[entry]} (entry ${entry})`)
      }
    }))

  it('is refused when anything a checkpoint covers was cut off', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir)
      for (const batch of single(3)) await Promise.all(batch.map((body) => ledger.append(body)))
      await ledger.close()
      const { size } = await stat(segmentFile(dir))
      for (const length of [size - 1, size - 100, segmentHeaderBytes, 0]) {
        expect(await refused(dir, (copy) => truncate(segmentFile(copy), length))).toContain('signed over 3 entries')
      }
      expect(await refused(dir, (copy) => unlink(segmentFile(copy)))).toContain('signed over 3 entries')
    }))

  it('is refused when the entries were replaced by others with right checksums', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir)
      await ledger.append(numberedEntry(1))
      await ledger.close()
      const message = await refused(dir, async (copy) => {
        const bytes = await readFile(segmentFile(copy))
        const text = bytes.toString('utf8', segmentHeaderBytes + 16).replace('"n1"', '"n2"')
        await writeFile(segmentFile(copy), Buffer.concat([bytes.subarray(0, segmentHeaderBytes), rawRecord(text, 0)]))
      })
      expect(message).toContain('not those the checkpoint over 1 entries was signed for')
    }))

  it('is refused without its checkpoint, with one of another key, and with one that does not parse', () =>
    withFolder(async (dir) => {
      await crashedLedger(dir, single(2))
      expect(await refused(dir, (copy) => unlink(join(copy, 'checkpoint')))).toContain('no checkpoint')
      const other = signingKeyOf(origin, Buffer.alloc(32, 9))
      expect(await refused(dir, (copy) => writeRawLedger(copy, [], { key: other }))).toContain(
        'not a checkpoint signed by',
      )
      expect(await refused(dir, (copy) => writeFile(join(copy, 'checkpoint'), 'x'))).toContain('not a checkpoint')
    }))

  it('is refused with a segment missing, renamed, or with another header', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir, { segmentBytes: 400 })
      for (let n = 0; n < 10; n++) await ledger.append(numberedEntry(n))
      await ledger.close()
      const segments = (await readdir(join(dir, 'segments'))).sort().map((name) => join('segments', name))
      const [first = '', second = '', third = ''] = segments
      expect(segments.length).toBeGreaterThan(3)
      const cases: ((copy: string) => Promise<void>)[] = [
        (copy) => unlink(join(copy, first)),
        (copy) => unlink(join(copy, second)),
        (copy) => rename(join(copy, second), join(copy, third)),
        (copy) => cp(join(copy, second), join(copy, third)),
        async (copy) => {
          const bytes = await readFile(join(copy, second))
          await writeFile(join(copy, second), bytes.fill(0, 0, 4))
        },
        (copy) => truncate(join(copy, second), 10),
      ]
      for (const change of cases) expect(await refused(dir, change)).toMatch(/\d{20}\.log/)
    }))
})

describe('a ledger in files', () => {
  it('goes over many segments, and reads across them after opening again', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir, { segmentBytes: 1000 })
      for (let n = 0; n < 40; n++) await ledger.append(numberedEntry(n))
      const before = await collect(ledger.read(0))
      await ledger.close()
      expect((await readdir(join(dir, 'segments'))).length).toBeGreaterThan(5)
      const again = await openTestLedger(dir, { segmentBytes: 1000 })
      expect(await collect(again.read(0))).toEqual(before)
      expect(await collect(again.read(17))).toEqual(before.slice(17))
      expect(await again.get(39)).toEqual(before[39])
      expect((await again.append(numberedEntry(40))).index).toBe(40)
      await again.close()
    }))

  it('stamps times that never go back, though the clock does, also over a restart', () =>
    withFolder(async (dir) => {
      const late = fakeClock(Date.UTC(2030, 0, 1))
      const first = await openTestLedger(dir, { clock: late })
      await first.append(numberedEntry(0))
      await first.close()
      const early = fakeClock(Date.UTC(2026, 0, 1))
      const second = await openTestLedger(dir, { clock: early })
      await second.append(numberedEntry(1))
      await early.advance(1000)
      await second.append(numberedEntry(2))
      const times = (await collect(second.read(0))).map(({ entry }) => entry.time)
      expect(times).toEqual(Array(3).fill('2030-01-01T00:00:00.000Z'))
      await second.close()
    }))

  it('says in the log when the clock is behind the last entry', () =>
    withFolder(async (dir) => {
      const first = await openTestLedger(dir, { clock: fakeClock(Date.UTC(2030, 0, 1)) })
      await first.append(numberedEntry(0))
      await first.close()
      const warned: unknown[] = []
      const log = { ...silentLog, warn: (fields: object, event: string) => void warned.push([event, fields]) }
      const second = await openTestLedger(dir, { clock: fakeClock(Date.UTC(2029, 11, 31)), log })
      await second.close()
      expect(warned).toEqual([['ledger.clock_behind_last_entry', { ahead_ms: 86_400_000 }]])
    }))

  it('answers with a fault when an entry cannot be read back, and names it', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir)
      await ledger.append(numberedEntry(0))
      await ledger.append(numberedEntry(1))
      const bytes = await readFile(segmentFile(dir))
      bytes[bytes.length - 5] = 0
      await writeFile(segmentFile(dir), bytes)
      expect((await ledger.get(0))?.index).toBe(0)
      for (const reading of [ledger.get(1), collect(ledger.read(0))]) {
        await expect(reading).rejects.toMatchObject({
          ...refusal,
          message: expect.stringContaining('entry 1 at offset'),
        })
      }
      await ledger.close()
    }))

  it('refuses entries once as many wait as it takes, and takes more when they are on disk', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir, { maxWaiting: 10 })
      const outcomes = await Promise.allSettled(Array.from({ length: 15 }, (_, n) => ledger.append(numberedEntry(n))))
      expect(outcomes.map(({ status }) => status)).toEqual([
        ...Array(10).fill('fulfilled'),
        ...Array(5).fill('rejected'),
      ])
      expect(outcomes[14]).toMatchObject({ reason: { ...refusal, retryAfterSeconds: 1 } })
      expect((await ledger.append(numberedEntry(15))).index).toBe(10)
      await ledger.close()
    }))

  it('writes many waiting entries with one write and one sync', () =>
    withFolder(async (dir) => {
      const operations: string[] = []
      const disk = faultyDisk(({ verb, path }) => {
        if (path === segmentFile(dir)) operations.push(verb)
        return 'do'
      })
      const ledger = await openTestLedger(dir, { fs: disk })
      operations.length = 0
      await Promise.all(Array.from({ length: 500 }, (_, n) => ledger.append(numberedEntry(n))))
      expect(operations.filter((verb) => verb !== 'open')).toEqual(['write', 'datasync'])
      await ledger.close()
    }))

  it('is made for its owner alone', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(join(dir, 'deep', 'ledger'))
      await ledger.append(numberedEntry(0))
      await ledger.close()
      expect((await stat(join(dir, 'deep', 'ledger'))).mode & 0o077).toBe(0)
      expect((await stat(segmentFile(join(dir, 'deep', 'ledger')))).mode & 0o077).toBe(0)
    }))

  it('is refused under a name that is not that of its key', () =>
    withFolder(async (dir) => {
      await expect(openTestLedger(dir, { origin: 'other.test/ledger' })).rejects.toThrow(
        'its key is for writ.test/ledger',
      )
    }))

  it('is refused where its folder cannot be made', () =>
    withFolder(async (dir) => {
      await writeFile(join(dir, 'file'), '')
      await expect(openTestLedger(join(dir, 'file'))).rejects.toMatchObject(refusal)
      await rm(join(dir, 'file'))
    }))
})
