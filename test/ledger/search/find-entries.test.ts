import { describe, expect, it } from 'vitest'
import { canonicalJson } from '../../../src/ledger/canonical.ts'
import { BundleError, type TileId, tilePath } from '../../../src/ledger/log/tile.ts'
import { entryAt, findEntries } from '../../../src/ledger/search/find-entries.ts'
import { endedEntry, grantOf, intentEntry, issuedEntry, numberedEntry, renewedEntry } from '../../support/entries.ts'
import { decimalLog, tileLog } from '../../support/tile-log.ts'

/** 1,000 entries with the life of grant 1 between others, over several bundles. */
const places = new Map([
  [100, intentEntry(1)],
  [255, issuedEntry(1)],
  [256, renewedEntry(1)],
  [777, endedEntry(1)],
])
const entries = Array.from({ length: 1000 }, (_, n) => canonicalJson(places.get(n) ?? numberedEntry(n)))
const log = tileLog(entries)

const reading = (asked: TileId[] = []) => ({
  asked,
  read: async (id: TileId): Promise<Buffer> => {
    asked.push(id)
    return log.files.get(tilePath(id)) ?? Promise.reject(new Error('none'))
  },
})

async function indexesOf(id: string, asked?: TileId[]): Promise<number[]> {
  const found: number[] = []
  for await (const { index, bytes } of findEntries(reading(asked).read, log.size, id)) {
    expect(bytes.toString()).toBe(entries[index])
    found.push(index)
  }
  return found
}

describe('an entry by its index', () => {
  it.each([0, 255, 256, 999])('is read from its bundle alone: %d', async (index) => {
    const { read, asked } = reading()
    expect((await entryAt(read, log.size, index)).bytes.toString()).toBe(entries[index])
    expect(asked).toHaveLength(1)
  })

  it.each([1000, 1024, Number.MAX_SAFE_INTEGER])('that is not there is refused: %d', async (index) => {
    await expect(entryAt(reading().read, log.size, index)).rejects.toThrow(RangeError)
  })
})

describe('entries by an id', () => {
  it('are those of a grant, newest first, and nothing before its intent is read', async () => {
    const asked: TileId[] = []
    expect(await indexesOf(grantOf(1), asked)).toEqual([777, 256, 255, 100])
    expect(asked.map(({ n }) => n)).toEqual([3, 2, 1, 0])
    const shortAsked: TileId[] = []
    const later = tileLog([...entries, canonicalJson(intentEntry(2))])
    for await (const { index } of findEntries(
      async (id) => {
        shortAsked.push(id)
        return later.files.get(tilePath(id)) ?? Buffer.of()
      },
      later.size,
      grantOf(2),
    )) {
      expect(index).toBe(1000)
    }
    expect(shortAsked).toHaveLength(1)
  })

  it('are those that name a public identifier or a hash, at any depth', async () => {
    expect(await indexesOf('v-checkout-1')).toEqual([255])
    expect(await indexesOf('c'.repeat(64))).toEqual([255])
  })

  it('are not those that have it as a part of a text, or as the name of a field', async () => {
    expect(await indexesOf('v-checkout')).toEqual([])
    expect(await indexesOf('actor')).toEqual([])
    expect(await indexesOf('"')).toEqual([])
  })

  it('are looked for in anybody’s log without trusting it', async () => {
    const deep = Buffer.from(`${'['.repeat(30_000)}"x"${']'.repeat(30_000)}`)
    const hostile = tileLog([deep, Buffer.from('{"a":"x"'), Buffer.of(0x22, 0x78, 0x22, 0xff), '{"a":"x"}', '"x"'])
    const found: number[] = []
    const read = async (id: TileId): Promise<Buffer> => hostile.files.get(tilePath(id)) ?? Buffer.of()
    for await (const { index } of findEntries(read, hostile.size, 'x')) found.push(index)
    expect(found).toEqual([3])
    const other = findEntries(async () => Buffer.from('"7"'), decimalLog(3).size, '7')
    await expect(other.next()).rejects.toThrow(BundleError)
  })
})
