import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openProvedLog, UnprovedError } from '../../../src/ledger/export/proved-log.ts'
import { parseCheckpoint } from '../../../src/ledger/log/checkpoint.ts'
import { leafHash } from '../../../src/ledger/log/merkle.ts'
import { createFolderSource } from '../../../src/ledger/source/tile-folder.ts'
import type { TileSource } from '../../../src/ledger/source/tile-source.ts'
import { createUrlSource } from '../../../src/ledger/source/tile-url.ts'
import { withFolder } from '../../support/ledger.ts'
import { tileLog } from '../../support/tile-log.ts'

const payloadsOf = (count: number): string[] => Array.from({ length: count }, (_, n) => `entry ${n}`)

/** What the checkpoint says, whoever signed it: signatures are not the subject here. */
async function headOf(files: TileSource) {
  const note = (await files.checkpoint())?.toString() ?? ''
  return parseCheckpoint(note.slice(0, note.indexOf('\n\n') + 1))
}

async function readAll(files: TileSource, from = 0) {
  const log = await openProvedLog(files, () => headOf(files))
  const all: { index: number; leafHash: string; text: string }[] = []
  for await (const entries of log.entries(from)) {
    for (const { index, leafHash: leaf, bytes } of entries) all.push({ index, leafHash: leaf, text: bytes.toString() })
  }
  return all
}

const expected = (payloads: readonly string[]) =>
  payloads.map((text, index) => ({
    index,
    leafHash: Buffer.from(leafHash(Buffer.from(text))).toString('hex'),
    text,
  }))

const filesBelow = async (dir: string): Promise<string[]> =>
  (await readdir(dir, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name !== 'checkpoint')
    .map((entry) => join(entry.parentPath, entry.name))

describe('a log that is led to its root', () => {
  it.each([0, 1, 2, 255, 256, 257, 300, 511, 512, 769])('gives all %i entries, and those from any index on', (size) =>
    withFolder(async (dir) => {
      const payloads = payloadsOf(size)
      await tileLog(payloads).write(dir)
      const files = createFolderSource(dir)
      expect(await readAll(files)).toEqual(expected(payloads))
      for (const from of [1, 200, 256, size]) {
        expect(await readAll(files, from)).toEqual(expected(payloads).slice(from))
      }
    }),
  )

  it('reads nothing but a few tiles before the entries that are asked for, however long the log is', () =>
    withFolder(async (dir) => {
      const payloads = payloadsOf(65_536 + 700)
      await tileLog(payloads).write(dir)
      const asked: string[] = []
      const files = createFolderSource(dir)
      const counting: TileSource = {
        ...files,
        tile(id) {
          asked.push(`${id.level}/${id.n}`)
          return files.tile(id)
        },
      }
      expect(await readAll(counting, 66_230)).toEqual(expected(payloads).slice(66_230))
      expect(asked).toEqual(['2/0', '1/1', '0/258', 'entries/258'])
      asked.length = 0
      const first = await openProvedLog(counting, () => headOf(counting))
      const entries = await first.entries(0).next()
      expect(entries.value).toHaveLength(256)
      expect(asked).toEqual(['2/0', '1/1', '0/258', 'entries/258', 'entries/0', '1/0'])
    }))

  it('gives out nothing else, whatever bit of whatever file is changed, cut off or missing', () =>
    withFolder(async (dir) => {
      const payloads = payloadsOf(600)
      await tileLog(payloads).write(dir)
      const paths = await filesBelow(dir)
      const whole = expected(payloads)
      const damage = fc.record({
        path: fc.constantFrom(...paths),
        at: fc.nat(),
        how: fc.constantFrom('flip', 'cut', 'extend', 'remove'),
      })
      let refused = 0
      await fc.assert(
        fc.asyncProperty(damage, async ({ path, at, how }) => {
          const bytes = await readFile(path)
          const changed = Buffer.from(bytes)
          changed[at % bytes.length] = (changed[at % bytes.length] ?? 0) ^ (1 << (at % 8))
          if (how === 'flip') await writeFile(path, changed)
          else if (how === 'remove') await rm(path)
          else
            await writeFile(path, how === 'cut' ? bytes.subarray(0, at % bytes.length) : Buffer.concat([bytes, bytes]))
          try {
            // Full tiles of leaf hashes are not needed, so they may be anything.
            expect(await readAll(createFolderSource(dir))).toEqual(whole)
          } catch (error) {
            if (!(error instanceof UnprovedError)) throw error
            refused++
          } finally {
            await writeFile(path, bytes)
          }
        }),
        { numRuns: 200 },
      )
      expect(refused).toBeGreaterThan(80)
    }))

  it('says which file it is', () =>
    withFolder(async (dir) => {
      await tileLog(payloadsOf(300)).write(dir)
      await writeFile(join(dir, 'tile/entries/000'), await readFile(join(dir, 'tile/entries/001.p/44')))
      await expect(readAll(createFolderSource(dir))).rejects.toThrow(
        /^tile\/entries\/000: the bundle ends after 44 of 256/,
      )
      await rm(join(dir, 'tile/1'), { recursive: true })
      await expect(readAll(createFolderSource(dir))).rejects.toThrow('tile/1/000.p/1 is missing')
    }))

  it('takes what it needs from wider tiles when the log has grown', () =>
    withFolder(async (dir) =>
      withFolder(async (later) => {
        const payloads = payloadsOf(300)
        await tileLog(payloads).write(dir)
        for (const size of [310, 513]) {
          await rm(join(dir, 'tile'), { recursive: true, force: true })
          await tileLog(payloadsOf(size)).write(later)
          await rename(join(later, 'tile'), join(dir, 'tile'))
          expect(await readAll(createFolderSource(dir))).toEqual(expected(payloads))
        }
      }),
    ))

  it('begins again with the new head when the log grows while it is opened', () =>
    withFolder(async (dir) => {
      await tileLog(payloadsOf(3)).write(dir)
      const files = createFolderSource(dir)
      const heads = [{ origin: 'x', size: 2, root: Buffer.alloc(32) }, await headOf(files)]
      const log = await openProvedLog(files, async () => heads.shift() ?? headOf(files))
      expect(log.head.size).toBe(3)
    }))

  it('believes no size before there is data', async () => {
    const nothing: TileSource = {
      atOnce: 1,
      checkpoint: async () => undefined,
      tile: async () => undefined,
      close: async () => {},
    }
    const head = { origin: 'x', size: Number.MAX_SAFE_INTEGER, root: Buffer.alloc(32) }
    await expect(openProvedLog(nothing, async () => head)).rejects.toThrow(UnprovedError)
  })
})

describe('a log at a URL', () => {
  it('is read like a folder, several bundles at once, and bounded', () =>
    withFolder(async (dir) => {
      const payloads = payloadsOf(3000)
      await tileLog(payloads).write(dir)
      let huge = false
      const server = createServer(async (request, response) => {
        try {
          response.end(huge ? Buffer.alloc(20_000_000) : await readFile(join(dir, request.url ?? '')))
        } catch {
          response.writeHead(404).end()
        }
      }).listen(0, '127.0.0.1')
      await new Promise((resolve) => server.once('listening', resolve))
      onTestFinished(() => {
        server.close()
        server.closeAllConnections()
      })
      const files = createUrlSource({ url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`) })
      onTestFinished(files.close)
      expect(await readAll(files)).toEqual(expected(payloads))
      expect(await readAll(files, 2990)).toEqual(expected(payloads).slice(2990))
      huge = true
      await expect(files.checkpoint()).rejects.toThrow('sent more than 524288 bytes')
    }))
})
