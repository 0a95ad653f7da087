import { readdir, readFile, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalJson } from '../../../src/ledger/canonical.ts'
import { leafHash, nodeHash } from '../../../src/ledger/log/merkle.ts'
import { type TileId, tilePath, tilesBetween } from '../../../src/ledger/log/tile.ts'
import type { FileLedger } from '../../../src/ledger/store/file.ts'
import { createGrowingTiles } from '../../../src/ledger/store/tiles.ts'
import { eventually } from '../../support/child.ts'
import { fakeClock } from '../../support/clock.ts'
import { numberedEntry } from '../../support/entries.ts'
import { faultyDisk } from '../../support/faulty-disk.ts'
import { collect, openTestLedger, published, segmentFile, withFolder } from '../../support/ledger.ts'
import { naiveRoot } from '../../support/naive-tree.ts'

const entryOf = (i: number): Buffer => Buffer.from(`entry ${i}`)

/** What a tile must hold, from all the entries and the definition alone. */
function naiveTile(entries: readonly Buffer[], { level, n, width }: TileId): Buffer {
  const first = n * 256
  if (level === 'entries') {
    return Buffer.concat(
      entries.slice(first, first + width).flatMap((entry) => {
        const length = Buffer.alloc(2)
        length.writeUInt16BE(entry.length)
        return [length, entry]
      }),
    )
  }
  let row: Uint8Array[] = entries.map((entry) => leafHash(entry))
  for (let height = 0; height < level * 8; height++) {
    const above: Uint8Array[] = []
    for (let i = 0; i + 1 < row.length; i += 2) above.push(nodeHash(row[i] ?? Buffer.of(), row[i + 1] ?? Buffer.of()))
    row = above
  }
  return Buffer.concat(row.slice(first, first + width))
}

describe('the tiles of a growing log', () => {
  it.each([0, 1, 255, 256, 257, 511, 513, 1000])('are those of the definition at size %d, whenever taken', (size) => {
    const entries = Array.from({ length: size }, (_, i) => entryOf(i))
    const tiles = createGrowingTiles()
    for (const entry of entries) tiles.append(entry, leafHash(entry))
    const found = [...tiles.takeFull(), ...tiles.partial()].map(({ id, bytes }) => [tilePath(id), bytes] as const)
    const wanted = [...tilesBetween(0, size)].map((id) => [tilePath(id), naiveTile(entries, id)] as const)
    expect(new Map(found)).toEqual(new Map(wanted))
    expect(Buffer.from(tiles.root())).toEqual(naiveRoot(entries))
  })

  it('are right where memory is used again, and what was found before stays as it was', () =>
    fc.assert(
      fc.property(
        fc.array(fc.record({ count: fc.integer({ min: 1, max: 700 }), bytes: fc.constantFrom(0, 40, 3000) }), {
          minLength: 2,
          maxLength: 6,
        }),
        (steps) => {
          const entries: Buffer[] = []
          const tiles = createGrowingTiles()
          const found: { readonly id: TileId; readonly bytes: Buffer }[] = []
          for (const { count, bytes } of steps) {
            for (let i = 0; i < count; i++) {
              const entry = Buffer.from(`entry ${entries.length} ${'x'.repeat(bytes)}`)
              entries.push(entry)
              tiles.append(entry, leafHash(entry))
            }
            const full = tiles.takeFull()
            for (const tile of [...full, ...tiles.partial()]) {
              expect(tile.bytes.equals(naiveTile(entries, tile.id)), tilePath(tile.id)).toBe(true)
              const same = tiles.find(tile.id.level, tile.id.n)
              if (same !== undefined && tile.id.level === 'entries') found.push(same)
            }
            tiles.written(full)
          }
          for (const { id, bytes } of found) expect(bytes.equals(naiveTile(entries, id)), tilePath(id)).toBe(true)
        },
      ),
      { numRuns: 20 },
    ))

  it('are the same however the log was cut into lives', () =>
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 5 }), (cuts) => {
        const total = cuts.reduce((sum, cut) => sum + cut, 0)
        const entries = Array.from({ length: total }, (_, i) => entryOf(i))
        let at = 0
        let tiles = createGrowingTiles()
        for (const cut of cuts) {
          for (const entry of entries.slice(at, at + cut)) tiles.append(entry, leafHash(entry))
          at += cut
          expect(Buffer.from(tiles.root())).toEqual(naiveRoot(entries.slice(0, at)))
          const partial = tiles.partial()
          const levels = partial.flatMap(({ id, bytes }) =>
            id.level === 'entries' ? [] : [[id.level, bytes] as const],
          )
          const whole = at - (at % 256)
          tiles = createGrowingTiles({
            size: whole,
            peaks: peaksOf(entries.slice(0, whole)),
            levels: [Buffer.of(), ...[1, 2].map((level) => new Map(levels).get(level) ?? Buffer.of())],
            bundle: [],
          })
          for (const entry of entries.slice(whole, at)) tiles.append(entry, leafHash(entry))
        }
        expect(tiles.partial().every(({ id, bytes }) => bytes.equals(naiveTile(entries, id)))).toBe(true)
      }),
      { numRuns: 30 },
    ))
})

function peaksOf(entries: readonly Buffer[]): Uint8Array[] {
  const peaks: Uint8Array[] = []
  for (let from = 0, left = entries.length; left > 0; ) {
    let count = 1
    while (count * 2 <= left) count *= 2
    peaks.push(naiveRoot(entries.slice(from, from + count)))
    from += count
    left -= count
  }
  return peaks
}

/** Appends entries and publishes them. */
async function grow(ledger: FileLedger, clock: ReturnType<typeof fakeClock>, count: number): Promise<void> {
  for (let done = 0; done < count; done += 100) {
    const some = Math.min(100, count - done)
    await Promise.all(Array.from({ length: some }, (_, n) => ledger.append(numberedEntry(done + n))))
  }
  await published(ledger, clock)
}

const entryBytes = async (ledger: FileLedger): Promise<Buffer[]> =>
  (await collect(ledger.read(0))).map(({ entry }) => Buffer.from(canonicalJson(entry)))

async function filesBelow(dir: string): Promise<string[]> {
  const found = await readdir(dir, { recursive: true, withFileTypes: true })
  return found.filter((each) => each.isFile()).map((each) => join(each.parentPath, each.name).slice(dir.length + 1))
}

const segmentNames = async (dir: string): Promise<string[]> => (await readdir(join(dir, 'segments'))).sort()

describe('the folder of a ledger', () => {
  it('holds exactly the tiles of the newest checkpoint, each as defined', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const ledger = await openTestLedger(dir, { clock })
      for (const count of [1, 254, 1, 1, 300]) {
        await grow(ledger, clock, count)
        const entries = await entryBytes(ledger)
        const wanted = [...tilesBetween(0, entries.length)]
        await eventually(async () => {
          const names = (await filesBelow(dir)).filter((name) => name.startsWith('tile/'))
          return names.length === wanted.length || undefined
        }, 'that replaced partial tiles are gone')
        for (const id of wanted) {
          expect(await readFile(join(dir, tilePath(id))), tilePath(id)).toEqual(naiveTile(entries, id))
          expect(await ledger.tile(id)).toEqual(naiveTile(entries, id))
        }
      }
      await ledger.close()
    }))

  it('writes no tile twice that a checkpoint may cover', () =>
    withFolder(async (dir) => {
      const written: string[] = []
      const fs = faultyDisk(({ verb, path }) => {
        if (verb === 'write' && path.includes('/tile/')) written.push(path)
        return 'do'
      })
      const clock = fakeClock()
      const ledger = await openTestLedger(dir, { clock, fs })
      for (let n = 0; n < 4; n++) await grow(ledger, clock, 200)
      await ledger.close()
      expect(written.length).toBeGreaterThan(10)
      expect(new Set(written).size).toBe(written.length)
    }))

  it('serves partial tiles in every width the checkpoint covers, and nothing beyond it', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const ledger = await openTestLedger(dir, { clock })
      await grow(ledger, clock, 270)
      const entries = await entryBytes(ledger)
      for (const level of ['entries', 0] as const) {
        for (const width of [1, 100, 255, 256]) {
          const id = { level, n: 0, width }
          expect(await ledger.tile(id)).toEqual(naiveTile(entries, id))
        }
        expect(await ledger.tile({ level, n: 1, width: 14 })).toEqual(naiveTile(entries, { level, n: 1, width: 14 }))
        expect(await ledger.tile({ level, n: 1, width: 15 })).toBeUndefined()
        expect(await ledger.tile({ level, n: 2, width: 1 })).toBeUndefined()
      }
      await Promise.all([0, 1].map((n) => ledger.append(numberedEntry(n))))
      expect(await ledger.tile({ level: 0, n: 1, width: 15 })).toBeUndefined()
      await ledger.close()
    }))

  it('lets segments go once full tiles hold their entries, and goes on from there after a restart', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const open = () => openTestLedger(dir, { clock, segmentBytes: 20_000 })
      const first = await open()
      await grow(first, clock, 700)
      await first.close()
      const [oldest = ''] = await segmentNames(dir)
      expect(Number(oldest.slice(0, 20))).toBeGreaterThan(256)
      let known = 700
      for (const count of [1, 300, 77]) {
        const ledger = await open()
        expect(ledger.head().size).toBe(known)
        const before = await entryBytes(ledger)
        expect(Buffer.from(ledger.head().root, 'hex')).toEqual(naiveRoot(before))
        expect((await ledger.get(3))?.index).toBe(3)
        expect((await collect(ledger.read(255))).map(({ index }) => index)).toEqual(
          Array.from({ length: known - 255 }, (_, i) => i + 255),
        )
        await grow(ledger, clock, count)
        known += count
        await ledger.close()
      }
      const ledger = await open()
      const entries = await entryBytes(ledger)
      expect(entries).toHaveLength(known)
      for (const id of tilesBetween(0, known)) {
        expect(await readFile(join(dir, tilePath(id))), tilePath(id)).toEqual(naiveTile(entries, id))
      }
      await ledger.close()
    }))

  it('makes tiles again that a crash took or left short, as long as the segments hold what they held', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const ledger = await openTestLedger(dir, { clock })
      await grow(ledger, clock, 600)
      const entries = await entryBytes(ledger)
      await ledger.close()
      await unlink(join(dir, 'tile/entries/000'))
      await truncate(join(dir, 'tile/0/001'), 100)
      await writeFile(join(dir, 'tile/0/002.p/50'), 'left over')
      await rm(join(dir, 'tile/1'), { recursive: true })
      const again = await openTestLedger(dir, { clock })
      for (const id of tilesBetween(0, 600)) {
        expect(await readFile(join(dir, tilePath(id)))).toEqual(naiveTile(entries, id))
      }
      expect(await readdir(join(dir, 'tile/0/002.p'))).toEqual(['88'])
      await again.close()
    }))

  it('is refused when tiles that stand alone are not those of the checkpoint, and opens without the upper levels', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const open = () => openTestLedger(dir, { clock, segmentBytes: 20_000 })
      const ledger = await open()
      await grow(ledger, clock, 700)
      await ledger.close()
      const bytes = await readFile(join(dir, 'tile/0/000'))
      bytes[40] = (bytes[40] ?? 0) ^ 1
      const upper = join(dir, 'tile/1/000.p/2')
      const good = await readFile(upper)
      await rm(join(dir, 'tile/1'), { recursive: true })
      await (await open()).close()
      await writeFile(join(dir, 'tile/0/000'), bytes)
      await rm(join(dir, 'tile/1'), { recursive: true })
      await expect(open()).rejects.toThrow('are not those the checkpoint over 700 entries was signed for')
      expect(good).toHaveLength(64)
    }))

  it('names the entry that was changed in a bundle that stands alone', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const ledger = await openTestLedger(dir, { clock, segmentBytes: 20_000 })
      await grow(ledger, clock, 700)
      await eventually(
        async () => Number((await segmentNames(dir))[0]?.slice(0, 20)) > 256 || undefined,
        'that segments have gone',
      )
      const path = join(dir, 'tile/entries/000')
      const bytes = await readFile(path)
      const at = bytes.indexOf('"n7"')
      expect(at).toBeGreaterThan(0)
      await writeFile(path, Buffer.concat([bytes.subarray(0, at), Buffer.from('"n8"'), bytes.subarray(at + 4)]))
      await expect(ledger.get(7)).rejects.toMatchObject({
        code: 'ledger_unavailable',
        message: /^entry 7 in entry bundle 0/,
      })
      await ledger.close()
    }))

  it('stops, and keeps the segment, when what it wrote to a tile is not what can be read', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const ledger = await openTestLedger(dir, { clock, segmentBytes: 60_000 })
      await grow(ledger, clock, 256)
      const path = join(dir, 'tile/entries/000')
      const bytes = await readFile(path)
      bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 1
      await writeFile(path, bytes)
      await grow(ledger, clock, 300)
      expect(String((await ledger.failed).cause)).toContain('tile 0 does not hold what was written to it')
      await ledger.close()
      expect((await segmentNames(dir))[0]).toBe(segmentFile(dir).split('/').at(-1))
      const again = await openTestLedger(dir, { clock, segmentBytes: 60_000 })
      expect(await collect(again.read(0))).toHaveLength(556)
      await again.close()
    }))

  it('says when a checkpoint covers an entry, and when it took too long', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const ledger = await openTestLedger(dir, { clock, checkpointIntervalMs: 100 })
      const { index } = await ledger.append(numberedEntry(0))
      const covered = ledger.covered(index, 5000)
      const never = ledger.covered(index + 1, 200)
      await clock.advance(250)
      expect(await covered).toBe(true)
      expect(ledger.checkpoint().split('\n')[1]).toBe('1')
      expect(await never).toBe(false)
      expect(await ledger.covered(index, 0)).toBe(true)
      await ledger.close()
    }))
})
