import fc from 'fast-check'
import { parquetMetadata, parquetReadObjects } from 'hyparquet'
import { describe, expect, it } from 'vitest'
import { canonicalJson } from '../../../src/ledger/canonical.ts'
import type { Entry } from '../../../src/ledger/entry.ts'
import { columns } from '../../../src/ledger/export/columns.ts'
import { csvFormat } from '../../../src/ledger/export/csv.ts'
import { EntryError } from '../../../src/ledger/export/entry-error.ts'
import { type EntryRow, readRow } from '../../../src/ledger/export/entry-row.ts'
import type { Format } from '../../../src/ledger/export/format.ts'
import { jsonlFormat } from '../../../src/ledger/export/jsonl.ts'
import { parquetFormat } from '../../../src/ledger/export/parquet.ts'
import { leafHash } from '../../../src/ledger/log/merkle.ts'
import { anyEntry, fullEntries } from '../../support/entry-samples.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

const rowsOf = (entries: readonly Entry[]): EntryRow[] =>
  entries.map((entry, index) => {
    const bytes = Buffer.from(canonicalJson(entry))
    return readRow({ index, leafHash: hex(leafHash(bytes)), bytes })
  })

function written(format: Format, entries: readonly Entry[]): Buffer {
  const chunks = [format.begin(), ...rowsOf(entries).map(format.add), format.end()]
  return Buffer.concat(chunks.map((chunk) => Buffer.from(chunk)))
}

/** RFC 4180 as its grammar reads, to check the writer against. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = []
  for (let at = 0; at < text.length; ) {
    const cells: string[] = []
    for (;;) {
      const pattern = /"((?:[^"]|"")*)"|[^",\r\n]*/y
      pattern.lastIndex = at
      const [raw = '', quoted] = pattern.exec(text) ?? []
      cells.push(quoted === undefined ? raw : quoted.replaceAll('""', '"'))
      at += raw.length
      if (text[at] === ',') at++
      else break
    }
    expect(text.slice(at, at + 2)).toBe('\r\n')
    at += 2
    rows.push(cells)
  }
  return rows
}

/** Every value of an entry that is not a list or an object. */
function* leavesOf(value: unknown): Generator<unknown> {
  if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) yield* leavesOf(inner)
  else yield value
}

describe('JSON lines', () => {
  it('hold the text that was recorded, so that each line leads to its leaf', () => {
    fc.assert(
      fc.property(fc.array(anyEntry, { maxLength: 5 }), (entries) => {
        const lines = written(jsonlFormat(), entries).toString().split('\n').slice(0, -1)
        expect(lines.map((line) => JSON.parse(line).entry)).toEqual(entries)
        lines.forEach((line, index) => {
          const [, leaf, text = ''] = /^\{"index":\d+,"leaf_hash":"([0-9a-f]{64})","entry":(.*)\}$/.exec(line) ?? []
          expect(hex(leafHash(Buffer.from(text)))).toBe(leaf)
          expect(JSON.parse(line).index).toBe(index)
        })
      }),
    )
  })
})

describe('CSV', () => {
  it('has a header of every column, and reads back by the grammar of RFC 4180', () => {
    fc.assert(
      fc.property(fc.array(anyEntry, { maxLength: 5 }), (entries) => {
        const [header, ...rows] = parseCsv(written(csvFormat(), entries).toString())
        expect(header).toEqual(columns.map(({ name }) => name))
        expect(rows.map((cells) => cells.length)).toEqual(entries.map(() => columns.length))
        expect(rows.map(([index, , time, kind]) => [index, time, kind])).toEqual(
          entries.map(({ time, kind }, index) => [String(index), time, kind]),
        )
      }),
    )
  })

  it('loses no field of any kind', () => {
    const entries = fullEntries()
    const [, ...rows] = parseCsv(written(csvFormat(), entries).toString())
    entries.forEach((entry, i) => {
      const cells = rows[i] ?? []
      for (const value of leavesOf(entry)) {
        const text = String(value)
        const found = cells.some(
          (cell) => cell === text || (/^[[{]/.test(cell) && [...leavesOf(JSON.parse(cell))].includes(value)),
        )
        expect(found, `${entry.kind}: ${text}`).toBe(true)
      }
    })
  })

  const reason = (text: string): string => {
    const entry: Entry = {
      v: 1,
      time: '2026-11-22T12:00:00.000Z',
      kind: 'approval.denied',
      actor: { type: 'broker', reason: 'test' },
      reason: text,
    }
    const [header = [], cells = []] = parseCsv(written(csvFormat(), [entry]).toString())
    return cells[header.indexOf('reason')] ?? ''
  }

  it.each([
    ['=HYPERLINK("http://x","y")', '\'=HYPERLINK("http://x","y")'],
    ['+1', "'+1"],
    ['-1', "'-1"],
    ['@SUM(A1)', "'@SUM(A1)"],
    ['\t=1', "\t'=1"],
    ['  =1', "  '=1"],
    ['"=1"', '"\'=1"'],
    ['\uff1d1', "'\uff1d1"],
    ['a;=1', "a;'=1"],
    ['a\t=1', "a\t'=1"],
    ['a\r\n=1', "a\r\n'=1"],
    ['a; "=1', 'a; "\'=1'],
    ['a=1, b-c', 'a=1, b-c'],
    ['show orders', 'show orders'],
  ])('makes of %j no formula for a spreadsheet', (text, cell) => expect(reason(text)).toBe(cell))

  it('never begins a cell, where any spreadsheet may split, with a sign of a formula', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'=+-@;\t\r\n" a,') }), (text) => {
        for (const part of reason(text).split(/[;\t\r\n]/))
          expect(part.trim().replace(/^[\s"]+/, '')).not.toMatch(/^[=+\-@]/)
      }),
    )
  })
})

describe('Parquet', () => {
  const log = { origin: 'writ.test/ledger', size: 3, root: 'ab' }
  const read = (bytes: Buffer) => {
    const file = new Uint8Array(bytes).buffer
    return parquetReadObjects({ file })
  }

  it('reads back with its types by another reader: integers, timestamps, booleans, text and JSON', async () => {
    const entries = fullEntries()
    const rows = await read(written(parquetFormat(log), entries))
    expect(rows).toHaveLength(entries.length)
    for (const [i, entry] of entries.entries()) {
      const row = rows[i] ?? {}
      expect(row).toMatchObject({ index: BigInt(i), kind: entry.kind, time: new Date(entry.time) })
      for (const { name, type } of columns) {
        const value: unknown = Reflect.get(entry, name)
        if (value === undefined) continue
        const wanted = type === 'integer' ? BigInt(Number(value)) : type === 'time' ? new Date(String(value)) : value
        expect(row[name], `${entry.kind}: ${name}`).toEqual(wanted)
      }
    }
  })

  it('holds what CSV holds, cell for cell', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyEntry, { maxLength: 20 }), async (entries) => {
        const rows = await read(written(parquetFormat(log), entries))
        rows.forEach((row, i) => {
          expect(row.leaf_hash).toBe(rowsOf(entries)[i]?.leafHash)
          expect(row.actor_type).toBe(entries[i]?.actor.type)
          expect(row.workload ?? undefined).toBe(entries[i]?.workload)
        })
        expect(rows).toHaveLength(entries.length)
      }),
      { numRuns: 30 },
    )
  })

  it('names the log it was made from, and holds a bounded number of entries in memory', () => {
    const [row] = rowsOf(fullEntries())
    if (row === undefined) throw new Error('no sample')
    const format = parquetFormat(log)
    const chunks = [format.begin()]
    for (let index = 0; index < 40_000; index++) chunks.push(format.add({ ...row, index }))
    expect(chunks.filter((chunk) => chunk.length > 0)).toHaveLength(5)
    const file = Buffer.concat([...chunks, format.end()].map((chunk) => Buffer.from(chunk)))
    const metadata = parquetMetadata(new Uint8Array(file).buffer)
    expect(metadata.key_value_metadata).toEqual([{ key: 'writ.ledger', value: JSON.stringify(log) }])
    expect(metadata.row_groups.map(({ num_rows }) => num_rows)).toEqual([8192n, 8192n, 8192n, 8192n, 7232n])
    const time = metadata.schema.find(({ name }) => name === 'time')
    expect(time?.logical_type).toMatchObject({ type: 'TIMESTAMP', isAdjustedToUTC: true })
  })
})

describe('an entry that is not ours', () => {
  it.each(['{', '[]', '1', '{"b":1,"a":1}', '{"a": 1}', '{"a":"\\u00e9"}', 'null'])(
    'is refused as %j, and named',
    (text) => {
      expect(() => readRow({ index: 7, leafHash: '', bytes: Buffer.from(text) })).toThrow(
        /^entry 7 is not an object in/,
      )
    },
  )

  it('is refused when it is not UTF-8', () => {
    const bytes = Buffer.from('{"a":"\u00e9"}', 'latin1')
    expect(() => readRow({ index: 7, leafHash: '', bytes })).toThrow(EntryError)
  })

  it('goes into JSON lines whatever its kind, and into nothing else', () => {
    const row = readRow({ index: 7, leafHash: 'ab', bytes: Buffer.from('{"kind":"of.tomorrow"}') })
    expect(jsonlFormat().add(row)).toBe('{"index":7,"leaf_hash":"ab","entry":{"kind":"of.tomorrow"}}\n')
    expect(() => csvFormat().add(row)).toThrow(/^entry 7 is of a kind or shape/)
  })
})
