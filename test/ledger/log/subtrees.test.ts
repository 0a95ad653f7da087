import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createSubtrees, rootOfHashes, TileError } from '../../../src/ledger/log/subtrees.ts'
import { tilePath } from '../../../src/ledger/log/tile.ts'
import { naiveRootOfHashes } from '../../support/naive-tree.ts'
import { decimalLog, tileLog } from '../../support/tile-log.ts'
import vectors from '../../vectors/tlog-go.json' with { type: 'json' }

const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex')

describe('roots from tiles', () => {
  it.each(vectors.sizes)('of $size entries are what an independent implementation computes', async (vector) => {
    const { subtrees, files } = decimalLog(vector.size)
    expect(Buffer.from(await subtrees.root(0, vector.size)).toString('hex')).toBe(vector.root)
    // The tiles they are computed from are its tiles too.
    const digests = [...files].flatMap(([path, bytes]) =>
      /^tile\/\d/.test(path) ? [`${path} ${sha256(bytes)}\n`] : [],
    )
    expect(sha256(digests.sort().join(''))).toBe(vector.tilesSha256)
    for (const [path, digest] of Object.entries(vector.partial)) {
      expect(sha256(files.get(path) ?? '')).toBe(digest)
    }
  })

  it('over every range that occurs in a tree are those of its leaf hashes', async () => {
    const size = 700
    const { subtrees, leafHashes } = tileLog(Array.from({ length: size }, (_, i) => `entry ${i}`))
    for (let span = 1; span < 1024; span *= 2) {
      for (let from = 0; from < size; from += span) {
        for (const to of [from + 1, from + Math.ceil(span / 2), from + span - 1, from + span]) {
          if (to <= from || to > size) continue
          const root = await subtrees.root(from, to)
          expect(naiveRootOfHashes(leafHashes.slice(from, to)).equals(root), `${from} to ${to}`).toBe(true)
        }
      }
    }
  })

  it('read each tile once, and none that they do not need', async () => {
    const { files } = decimalLog(70_000)
    const read: string[] = []
    const subtrees = createSubtrees(70_000, async (id) => {
      read.push(tilePath(id))
      return files.get(tilePath(id)) ?? Buffer.of()
    })
    for (let round = 0; round < 3; round++) await Promise.all([subtrees.root(0, 70_000), subtrees.root(0, 65_536)])
    expect(read.sort()).toEqual(['tile/0/273.p/112', 'tile/1/001.p/17', 'tile/2/000.p/1'])
  })

  it.each([0, 31, 32 * 255, 32 * 257])('are refused from a tile of %d bytes in place of 8192', async (bytes) => {
    const subtrees = createSubtrees(256, async () => Buffer.alloc(bytes))
    await expect(subtrees.root(0, 128)).rejects.toThrow(TileError)
    await expect(subtrees.root(0, 128)).rejects.toThrow(`tile/0/000 has ${bytes} bytes`)
  })
})

describe('the root over hashes of one tile', () => {
  it('is the root of the perfect subtree they span', () => {
    const { leafHashes } = decimalLog(256)
    const tile = Buffer.concat(leafHashes)
    for (let count = 1; count <= 256; count *= 2) {
      for (let first = 0; first < 256; first += count) {
        const expected = naiveRootOfHashes(leafHashes.slice(first, first + count))
        expect(expected.equals(rootOfHashes(tile, first, count))).toBe(true)
      }
    }
  })
})
