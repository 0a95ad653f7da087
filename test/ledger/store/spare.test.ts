import { cp, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { StoredEntry } from '../../../src/ledger/ledger.ts'
import { readFrame } from '../../../src/ledger/store/record.ts'
import { segmentHeaderBytes } from '../../../src/ledger/store/segments.ts'
import { verifyLedger } from '../../../src/ledger/verify/check.ts'
import { createFollower } from '../../../src/ledger/verify/follow.ts'
import { eventually } from '../../support/child.ts'
import { numberedEntry } from '../../support/entries.ts'
import { faultyDisk } from '../../support/faulty-disk.ts'
import { collect, openTestLedger, segmentFile, testKey, withFolder } from '../../support/ledger.ts'

const { vkey } = testKey
const segmentBytes = 20_000

const firstsIn = async (dir: string): Promise<number[]> =>
  (await readdir(join(dir, 'segments')))
    .filter((name) => name.endsWith('.log'))
    .map((name) => Number(name.slice(0, 20)))
    .sort((a, b) => a - b)

async function lastSegment(dir: string): Promise<string> {
  return segmentFile(dir, (await firstsIn(dir)).at(-1))
}

interface Crashed {
  readonly entries: readonly StoredEntry[]
  /** Index of the first entry of the last segment. */
  readonly first: number
  /** Where each record of the last segment begins, and where the last one ends. */
  readonly bounds: readonly number[]
}

/** A ledger that was killed with a last segment written ahead: four batches of two entries, then zeros. */
async function crashWithZeros(dir: string): Promise<Crashed> {
  let broken = false
  const ledger = await openTestLedger(dir, { segmentBytes, fs: faultyDisk(() => (broken ? 'fail' : 'do')) })
  let n = 0
  const isAhead = async (): Promise<boolean> =>
    (await firstsIn(dir)).length > 1 && (await stat(await lastSegment(dir))).size === segmentBytes
  while (!(await isAhead())) await ledger.append(numberedEntry(n++))
  for (let batch = 0; batch < 4; batch++) await Promise.all([0, 1].map(() => ledger.append(numberedEntry(n++))))
  const entries = await collect(ledger.read(0))
  broken = true
  await ledger.close()
  const bytes = await readFile(await lastSegment(dir))
  const bounds = [segmentHeaderBytes]
  for (let at = segmentHeaderBytes; ; ) {
    const found = readFrame(bytes, at)
    if (found === undefined) break
    at = found.end
    bounds.push(at)
  }
  expect(bytes).toHaveLength(segmentBytes)
  expect(bytes.subarray(bounds.at(-1)).every((byte) => byte === 0)).toBe(true)
  const first = (await firstsIn(dir)).at(-1) ?? 0
  expect(entries).toHaveLength(first + bounds.length - 1)
  return { entries, first, bounds }
}

async function reopened(dir: string): Promise<StoredEntry[]> {
  const ledger = await openTestLedger(dir, { segmentBytes })
  const entries = await collect(ledger.read(0))
  await ledger.close()
  return entries
}

describe('a segment that was written ahead', () => {
  it('ends where its records end: nothing is repaired after a crash, and every reader sees what was appended', () =>
    withFolder(async (dir) => {
      const { entries, bounds } = await crashWithZeros(dir)
      const follower = createFollower(dir)
      const followed: string[] = []
      for (let some = await follower.next(); some.length > 0; some = await follower.next()) {
        followed.push(...some.map(({ leafHash }) => leafHash))
      }
      expect(followed).toEqual(entries.map(({ leafHash }) => leafHash))
      const report = await verifyLedger({ dir, vkey })
      expect(report).toMatchObject({ ok: true, problems: [], unsigned: entries.length, unfinishedBytes: 0 })
      expect(await reopened(dir)).toEqual(entries)
      expect((await stat(await lastSegment(dir))).size).toBe(bounds.at(-1))
      expect(await verifyLedger({ dir, vkey })).toMatchObject({ ok: true, entries: entries.length })
    }))

  it('loses, with any torn write before zeros, what was torn and nothing else, and says so', { timeout: 120_000 }, () =>
    withFolder(async (folder) => {
      const whole = join(folder, 'whole')
      const { entries, first, bounds } = await crashWithZeros(whole)
      // The last batch is two records: anything that was acknowledged before it must stay.
      const batchAt = bounds.at(-3) ?? 0
      const end = bounds.at(-1) ?? 0
      let run = 0
      const torn = fc.record({
        from: fc.integer({ min: batchAt, max: end - 1 }),
        bytes: fc.integer({ min: 1, max: 1000 }),
        fill: fc.constantFrom(0, 0xa5),
      })
      await fc.assert(
        fc.asyncProperty(torn, async ({ from, bytes, fill }) => {
          const dir = join(folder, String(run++))
          await cp(whole, dir, { recursive: true })
          const path = await lastSegment(dir)
          const before = await readFile(path)
          // Sectors reach the disk in any order: zeros, or noise, with more of the batch behind it or not.
          const after = Buffer.from(before).fill(fill, from, Math.min(end, from + bytes))
          await writeFile(path, after)
          // Zeros over zeros tear nothing.
          const tornAt = before.findIndex((byte, at) => byte !== after[at])
          const sound = bounds.slice(1).filter((bound) => tornAt < 0 || bound <= tornAt).length
          const kept = entries.slice(0, first + sound)
          const report = await verifyLedger({ dir, vkey })
          expect(report).toMatchObject({ ok: true, unsigned: kept.length })
          const read = await reopened(dir)
          expect(read.slice(0, kept.length)).toEqual(kept)
          const isTorn = after.subarray(bounds[sound]).some((byte) => byte !== 0)
          expect(report.unfinishedBytes > 0).toBe(isTorn)
          expect(read.slice(kept.length).map(({ entry }) => entry.kind)).toEqual(
            isTorn ? ['config.ledger_repaired'] : [],
          )
          expect(await verifyLedger({ dir, vkey })).toMatchObject({ ok: true, entries: read.length })
        }),
        { numRuns: 40 },
      )
    }),
  )

  it('is refused when zeros stand where something later shows that there was a record', () =>
    withFolder(async (dir) => {
      const { first, bounds } = await crashWithZeros(dir)
      const path = await lastSegment(dir)
      const bytes = await readFile(path)
      const [from, to] = [bounds.at(-5) ?? 0, bounds.at(-3) ?? 0]
      await writeFile(path, bytes.fill(0, from, to))
      const index = first + bounds.length - 5
      await expect(openTestLedger(dir, { segmentBytes })).rejects.toThrow(`damaged at offset ${from} (entry ${index})`)
      const report = await verifyLedger({ dir, vkey })
      expect(report.ok).toBe(false)
      expect(report.problems[0]).toMatchObject({ rule: 'segment', index, offset: from })
    }))

  it('is cut to its records when the ledger is closed, and the file for the next one goes', () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir, { segmentBytes })
      let n = 0
      while ((await firstsIn(dir)).length < 4) await ledger.append(numberedEntry(n++))
      await ledger.close()
      const names = await readdir(join(dir, 'segments'))
      expect(names.every((name) => name.endsWith('.log'))).toBe(true)
      const bytes = await readFile(await lastSegment(dir))
      expect(bytes.at(-1)).not.toBe(0)
      expect(await reopened(dir)).toHaveLength(n)
    }))

  it('is never reported as damaged while it is being written', { timeout: 120_000 }, () =>
    withFolder(async (dir) => {
      const ledger = await openTestLedger(dir, { segmentBytes })
      let reports = 0
      const verifying = (async () => {
        for (; reports < 8; reports++) expect(await verifyLedger({ dir, vkey })).toMatchObject({ problems: [] })
      })()
      let n = 0
      const done = verifying.then(
        () => true,
        () => true,
      )
      let isDone = false
      void done.then(() => {
        isDone = true
      })
      while (!isDone) await Promise.all(Array.from({ length: 5 }, () => ledger.append(numberedEntry(n++))))
      await ledger.close()
      await verifying
    }),
  )
})

describe('a disk that is full', () => {
  it('while a segment is written ahead gets its bytes back, and the ledger goes on without', () =>
    withFolder(async (dir) => {
      let refused = 0
      const fs = faultyDisk(({ verb, path }) => {
        if (verb !== 'write' || !path.endsWith('next')) return 'do'
        refused++
        return 'short'
      })
      const ledger = await openTestLedger(dir, { segmentBytes, fs })
      let n = 0
      while ((await firstsIn(dir)).length < 4) await ledger.append(numberedEntry(n++))
      await eventually(
        async () => !(await readdir(join(dir, 'segments'))).includes('next') || undefined,
        'that the file is gone',
      )
      expect(refused).toBeGreaterThan(1)
      await ledger.close()
      expect(await reopened(dir)).toHaveLength(n)
      expect(await verifyLedger({ dir, vkey })).toMatchObject({ ok: true, entries: n })
    }))
})
