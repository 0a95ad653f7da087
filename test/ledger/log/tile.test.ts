import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  BundleError,
  hashesAtLevel,
  parseBundle,
  parseTilePath,
  type TileId,
  tilePath,
  tilesBetween,
  widthAt,
} from '../../../src/ledger/log/tile.ts'
import { tileLog } from '../../support/tile-log.ts'
import vectors from '../../vectors/tlog-go.json' with { type: 'json' }

const levelOf = (level: string | number): TileId['level'] => (typeof level === 'number' ? level : 'entries')
const pathsBetween = (from: number, size: number): string[] => [...tilesBetween(from, size)].map(tilePath)
const isOfHashes = (path: string): boolean => !path.startsWith('tile/entries/')

describe('tile paths (C2SP tlog-tiles)', () => {
  it('are those of the specification', () => {
    expect(tilePath({ level: 0, n: 1234067, width: 256 })).toBe('tile/0/x001/x234/067')
  })

  it('are written and read as an independent implementation writes them', () => {
    for (const { level, n, width, path } of vectors.paths) {
      const id = { level: levelOf(level), n, width }
      expect(tilePath(id)).toBe(path)
      expect(parseTilePath(path)).toEqual(id)
    }
  })

  it.each(vectors.parsing)('are read where an independent implementation reads them: $path', ({ path, named }) => {
    expect(parseTilePath(path) !== undefined).toBe(named)
  })

  it.each(['tile/64/000', 'tile/100/000', 'tile/data/000', 'tile/0/x999/x999/x999/x999/x999/999', 'tile/0/٠٠٠'])(
    'that the specification does not know are refused: %s',
    (path) => {
      expect(parseTilePath(path)).toBeUndefined()
    },
  )

  it('read back as what was written, and nothing else does', () => {
    const level = fc.oneof(fc.integer({ min: 0, max: 63 }), fc.constant('entries' as const))
    const id = fc.record({ level, n: fc.maxSafeNat(), width: fc.integer({ min: 1, max: 256 }) })
    fc.assert(
      fc.property(id, (tile) => {
        expect(parseTilePath(tilePath(tile))).toEqual(tile)
      }),
    )
    const pieces = fc.array(fc.constantFrom('tile/', 'entries/', '0/', '63/', '64/', 'x001/', '001', '.p/', '7', '256'))
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          pieces.map((all) => all.join('')),
        ),
        (path) => {
          const tile = parseTilePath(path)
          if (tile !== undefined) expect(tilePath(tile)).toBe(path)
        },
      ),
      { numRuns: 2000 },
    )
  })
})

describe('tiles of a size', () => {
  it('are those of the worked example of 70,000', () => {
    const size = 70_000
    expect([0, 1, 2, 3].map((level) => hashesAtLevel(size, level))).toEqual([70_000, 273, 1, 0])
    expect(pathsBetween(0, size).filter((path) => path.includes('.p/'))).toEqual([
      'tile/entries/273.p/112',
      'tile/0/273.p/112',
      'tile/1/001.p/17',
      'tile/2/000.p/1',
    ])
    expect(widthAt(size, 'entries', 272)).toBe(256)
    expect([272, 273, 274].map((n) => widthAt(size, 0, n))).toEqual([256, 112, 0])
    expect([0, 1, 2].map((n) => widthAt(size, 1, n))).toEqual([256, 17, 0])
  })

  it.each(vectors.sizes)('$size are as many as an independent implementation has, with its partial ones', (vector) => {
    const hashes = pathsBetween(0, vector.size).filter(isOfHashes)
    expect(hashes).toHaveLength(vector.tiles)
    expect(hashes.filter((path) => path.includes('.p/')).sort()).toEqual(Object.keys(vector.partial).sort())
  })

  it('stay exact where numbers are largest', () => {
    const size = Number.MAX_SAFE_INTEGER
    expect([0, 1, 5, 6, 7].map((level) => hashesAtLevel(size, level))).toEqual([size, 2 ** 45 - 1, 2 ** 13 - 1, 31, 0])
    expect(widthAt(size, 0, Math.floor(size / 256))).toBe(255)
    expect(widthAt(size, 0, size)).toBe(0)
    expect(pathsBetween(size - 1, size)).toEqual([
      'tile/entries/x035/x184/x372/x088/831.p/255',
      'tile/0/x035/x184/x372/x088/831.p/255',
    ])
  })

  it('that a grown log has and the smaller one had not are exactly those yielded', () => {
    const all = Array.from({ length: 601 }, (_, size) => new Set(tileLog(new Array(size).fill('x')).files.keys()))
    const sizes = fc.tuple(fc.nat(600), fc.nat(600)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
    fc.assert(
      fc.property(sizes, ([from, size]) => {
        const added = [...(all[size] ?? [])].filter((path) => path !== 'checkpoint' && all[from]?.has(path) === false)
        expect(pathsBetween(from, size).sort()).toEqual(added.sort())
      }),
      {
        examples: [[[0, 0]], [[0, 1]], [[0, 255]], [[255, 256]], [[256, 256]], [[256, 257]], [[0, 513]], [[512, 600]]],
      },
    )
  })
})

describe('entry bundles', () => {
  const bundle = (...entries: readonly Buffer[]): Buffer =>
    Buffer.concat(entries.flatMap((entry) => [Buffer.of(entry.length >> 8, entry.length & 255), entry]))

  it('give back the entries they were made of', () => {
    const entries = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 256 })
    fc.assert(
      fc.property(entries, (given) => {
        const all = given.map((entry) => Buffer.from(entry))
        expect(parseBundle(bundle(...all), all.length)).toEqual(all)
      }),
    )
    const largest = Buffer.alloc(65_535, 7)
    expect(parseBundle(bundle(largest, Buffer.of()), 2)).toEqual([largest, Buffer.of()])
  })

  it.each([
    ['fewer entries', bundle(Buffer.of(1)), 2, 'after 1 of 2'],
    ['more entries', bundle(Buffer.of(1), Buffer.of(2)), 1, '3 bytes follow'],
    ['half a length', Buffer.of(0), 1, 'after 0 of 1'],
    ['half an entry', bundle(Buffer.of(1), Buffer.of(2, 3)).subarray(0, -1), 2, 'within entry 1 of 2'],
    ['no bytes', Buffer.of(), 1, 'after 0 of 1'],
  ])('with %s are refused', (_, bytes, width, message) => {
    expect(() => parseBundle(bytes, width)).toThrow(BundleError)
    expect(() => parseBundle(bytes, width)).toThrow(message)
  })

  it('of any bytes are entries that fill them exactly, or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.integer({ min: 1, max: 256 }), (bytes, width) => {
        let entries: readonly Buffer[]
        try {
          entries = parseBundle(Buffer.from(bytes), width)
        } catch (error) {
          expect(error).toBeInstanceOf(BundleError)
          return
        }
        expect(entries).toHaveLength(width)
        expect(bundle(...entries).equals(bytes)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })
})
