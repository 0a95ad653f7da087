import { copyFile, mkdir, readFile, rename, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { signCheckpoint } from '../../../src/ledger/log/checkpoint.ts'
import { SourceError } from '../../../src/ledger/source/tile-source.ts'
import { numberedEntry, stampedEntry } from '../../support/entries.ts'
import { origin, testKey, withFolder } from '../../support/ledger.ts'
import { edit, filesIn, flipped, putHash, smallEntries, verifyDir, withCopy } from '../../support/log-folder.ts'
import { naiveLeaf } from '../../support/naive-tree.ts'
import { writeRawLedger } from '../../support/raw-ledger.ts'
import { tileLog } from '../../support/tile-log.ts'

const published = { segments: [] }

/** A published copy of a log of `size` entries. */
const withLog = (size: number, use: (dir: string) => Promise<void>): Promise<void> =>
  withFolder(async (dir) => {
    await writeRawLedger(dir, smallEntries(size), published)
    await use(dir)
  })

describe('a log of any size', () => {
  it.each([0, 1, 255, 256, 257, 513])('of %i entries is verified', (size) =>
    withLog(size, async (dir) => {
      expect(await verifyDir(dir)).toMatchObject({ ok: true, entries: size, signed: { size }, unsigned: 0 })
    }),
  )

  it(
    'of 65,537 entries is verified, has three levels, and a fault in each is named',
    () =>
      withFolder(async (dir) => {
        // Entries of others: making as many of ours would take longer than verifying them.
        const log = tileLog(Array.from({ length: 65_537 }, (_, i) => String(i)))
        await log.write(dir)
        const any = { form: 'any' } as const
        expect(await verifyDir(dir, any)).toMatchObject({ ok: true, entries: 65_537, form: 'any' })
        expect([...log.files.keys()].filter((path) => path.startsWith('tile/2'))).toEqual(['tile/2/000.p/1'])
        for (const path of ['tile/0/131', 'tile/0/256.p/1', 'tile/1/000', 'tile/2/000.p/1']) {
          const bytes = await readFile(join(dir, path))
          await edit(join(dir, path), (bytes) => flipped(bytes, bytes.length - 1))
          const { ok, problems } = await verifyDir(dir, any)
          expect(ok).toBe(false)
          expect(problems.map((problem) => problem.path)).toEqual([path])
          await writeFile(join(dir, path), bytes)
        }
      }),
    60_000,
  )
})

describe('a tile', () => {
  it(
    'with any byte of a hash changed is found and named, whatever its level and whether it is full',
    () =>
      withLog(513, async (dir) => {
        const paths = (await filesIn(dir)).filter((path) => /^tile\/\d/.test(path))
        expect(paths).toEqual(['tile/0/000', 'tile/0/001', 'tile/0/002.p/1', 'tile/1/000.p/2'])
        for (const path of paths) {
          const bytes = await readFile(join(dir, path))
          // Every byte of a hash stands for those of all: a whole full tile would be 8,192 runs.
          for (let at = bytes.length - 1; at >= 0; at -= path.endsWith('0.p/2') || path.endsWith('2.p/1') ? 1 : 509) {
            await writeFile(join(dir, path), flipped(bytes, at))
            const { ok, problems } = await verifyDir(dir)
            expect(ok, `${path}, byte ${at}`).toBe(false)
            expect(problems, `${path}, byte ${at}`).toEqual([
              { rule: 'tile', path, message: expect.stringContaining(`${path}: hash ${Math.floor(at / 32)} is not`) },
            ])
          }
          await writeFile(join(dir, path), bytes)
        }
        expect((await verifyDir(dir)).ok).toBe(true)
      }),
    120_000,
  )

  it.each(['tile/0/000', 'tile/0/001.p/4', 'tile/1/000.p/1', 'tile/entries/000', 'tile/entries/001.p/4'])(
    '%s that is deleted, empty, cut short, or longer than it should be is named',
    (path) =>
      withLog(260, async (dir) => {
        const file = join(dir, path)
        const bytes = await readFile(file)
        const wrong: (() => Promise<void>)[] = [
          () => unlink(file),
          () => writeFile(file, ''),
          () => truncate(file, bytes.length - 1),
          () => truncate(file, bytes.length - 32),
        ]
        for (const damage of wrong) {
          await damage()
          const { ok, problems } = await verifyDir(dir)
          expect(ok).toBe(false)
          expect(problems.map((problem) => problem.path)).toContain(path)
        }
        await writeFile(file, Buffer.concat([bytes, bytes.subarray(0, 1)]))
        const { ok, problems } = await verifyDir(dir)
        expect(ok).toBe(false)
        expect(problems.map((problem) => problem.path)).toContain(path)
      }),
  )

  // Such a log can be read, and is wrong: whoever made the tile longer must not get away with "cannot be read".
  it.each([
    ['tile/0/000', 8192, 'tile/0/000 holds more than 8192 bytes, and 256 hashes are 8192'],
    ['tile/0/001.p/4', 8192, 'tile/0/001.p/4 holds more than 8192 bytes, and 4 hashes are 128'],
    ['tile/entries/000', 16_777_472, 'tile/entries/000: it holds more than 16777472 bytes'],
    ['tile/entries/001.p/4', 16_777_472, 'tile/entries/001.p/4: it holds more than 16777472 bytes'],
  ])('%s that is larger than any may be is named, and not read any further', (path, most, message) =>
    withLog(260, async (dir) => {
      for (const size of [most + 1, 2 ** 40]) {
        await truncate(join(dir, path), size)
        const { ok, problems } = await verifyDir(dir)
        expect(ok).toBe(false)
        expect(problems).toContainEqual(expect.objectContaining({ path, message }))
      }
    }),
  )

  it('that cannot be read is no sign of a wrong log', () =>
    withLog(260, async (dir) => {
      await unlink(join(dir, 'tile/0/000'))
      await mkdir(join(dir, 'tile/0/000'))
      await expect(verifyDir(dir)).rejects.toThrow(SourceError)
    }))

  it.each(['tile/0', 'tile/entries'])('in %s that was swapped with another, or is there twice, is named', (level) =>
    withLog(768, async (dir) => {
      const path = (n: number): string => join(dir, level, `00${n}`)
      await withCopy(dir, async (copy) => {
        await rename(path(0), join(copy, level, '001'))
        await rename(path(1), join(copy, level, '000'))
        const { ok, problems, problemCount } = await verifyDir(copy)
        expect(ok).toBe(false)
        expect(problems[0]?.path).toBe(`${level}/000`)
        // Each hash, or entry, of both is in the wrong place, and times go back once where entries are swapped.
        expect(problemCount).toBe(level === 'tile/0' ? 512 : 512 + 256)
        await rename(join(copy, level, '001'), path(0))
        await rename(join(copy, level, '000'), path(1))
      })
      await copyFile(path(2), path(1))
      const { ok, problems } = await verifyDir(dir)
      expect(ok).toBe(false)
      expect(problems[0]?.path).toBe(`${level}/001`)
    }),
  )
})

describe('an entry', () => {
  const other = stampedEntry(numberedEntry(5), 5).replace('"n5"', '"m5"')

  it('that was changed is named, and one problem is all it makes', () =>
    withLog(300, async (dir) => {
      await edit(join(dir, 'tile/entries/000'), (bytes) => {
        bytes.write('m5', bytes.indexOf('"n5"') + 1)
        return bytes
      })
      expect((await verifyDir(dir)).problems).toEqual([
        { rule: 'entry', message: 'entry 5 is not the one that was signed for', index: 5, path: 'tile/entries/000' },
      ])
    }))

  it('that was changed with every hash above it is caught at the root', () =>
    withLog(300, async (dir) => {
      await edit(join(dir, 'tile/entries/000'), (bytes) => {
        bytes.write('m5', bytes.indexOf('"n5"') + 1)
        return bytes
      })
      const root = await putHash(join(dir, 'tile/0/000'), 5, naiveLeaf(Buffer.from(other)))
      const half = await verifyDir(dir)
      expect(half.problems.map(({ path }) => path)).toEqual(['tile/0/000'])
      await putHash(join(dir, 'tile/1/000.p/1'), 0, root)
      const { ok, problems } = await verifyDir(dir)
      expect(ok).toBe(false)
      expect(problems).toEqual([
        { rule: 'root', message: expect.stringContaining('the root over entries 0 to 299 is not the one it states') },
      ])
    }))

  it('left out, put in, or moved is caught, though every tile agrees with it', () =>
    withLog(3, async (dir) => {
      const entries = smallEntries(3)
      const { root } = tileLog(entries)
      const [first = '', second = '', third = ''] = entries
      for (const forged of [
        [first, third],
        [first, first, second, third],
        [first, third, second],
      ]) {
        // The true signature over the true root, and everything else made to fit.
        const { files } = tileLog(forged)
        files.set('checkpoint', Buffer.from(signCheckpoint({ origin, size: 3, root }, testKey)))
        await withFolder(async (at) => {
          await tileLog(forged).write(at)
          await copyFile(join(dir, 'checkpoint'), join(at, 'checkpoint'))
          expect((await verifyDir(at)).ok).toBe(false)
        })
      }
    }))
})

describe('a checkpoint', () => {
  it.each([1e12, Number.MAX_SAFE_INTEGER])('over %d entries is not believed before they are there', (size) =>
    withFolder(async (dir) => {
      await writeRawLedger(dir, smallEntries(300), { ...published, checkpoint: { size } })
      const { ok, problems, problemCount, entries } = await verifyDir(dir)
      expect(ok).toBe(false)
      expect(problems.map(({ rule }) => rule)).toContain('stopped')
      expect(problemCount).toBeLessThan(10)
      expect(entries).toBe(256)
    }),
  )
})
