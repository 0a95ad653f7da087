import { ByteWriter, ParquetWriter } from 'hyparquet-writer'
import { type Cell, type Column, cellsOf, columns } from './columns.ts'
import type { ExportedLog, Format } from './format.ts'

// A row group is held in memory until it is written: whichever comes first ends it.
const mostRows = 16_384
const mostBytes = 16 * 1024 * 1024

/**
 * Apache Parquet: one row an entry, row groups of at most 16,384 entries or 16 MiB of them. Times are timestamps in UTC, lists and objects
 * JSON. The log it was made from stands in the metadata under `writ.ledger`.
 */
export function parquetFormat(log: ExportedLog): Format {
  const output = new ByteWriter()
  const kvMetadata = [{ key: 'writ.ledger', value: JSON.stringify(log) }]
  const writer = new ParquetWriter({ writer: output, schema, kvMetadata })
  let held = columns.map((): unknown[] => [])
  let rows = 0
  let bytes = 0

  function writeGroup(): void {
    const columnData = columns.map(({ name, type }, i) => {
      // Bounds of JSON say nothing, and the writer would keep them all to the end.
      return { name, data: held[i] ?? [], statistics: type !== 'json' }
    })
    // It resolves at once: the output is memory.
    void writer.write({ columnData, rowGroupSize: Math.max(1, rows) })
    held = columns.map(() => [])
    rows = 0
    bytes = 0
  }

  function takeOutput(): Uint8Array {
    const written = output.getBytes().slice()
    output.index = 0
    return written
  }

  return {
    begin: takeOutput,
    add(row) {
      const cells = cellsOf(row)
      columns.forEach(({ type }, i) => void held[i]?.push(parquetValue(type, cells[i])))
      rows++
      bytes += row.text.length
      if (rows < mostRows && bytes < mostBytes) return ''
      writeGroup()
      return takeOutput()
    },
    end() {
      if (rows > 0) writeGroup()
      void writer.finish()
      return takeOutput()
    },
  }
}

const always = ['index', 'leaf_hash', 'time', 'kind', 'actor_type', 'v']

const schema: ConstructorParameters<typeof ParquetWriter>[0]['schema'] = [
  { name: 'entries', num_children: columns.length },
  ...columns.map(({ name, type }) => ({
    name,
    repetition_type: always.includes(name) ? ('REQUIRED' as const) : ('OPTIONAL' as const),
    ...typeOf(type),
  })),
]

function typeOf(type: Column['type']) {
  switch (type) {
    case 'integer':
      return { type: 'INT64' } as const
    case 'boolean':
      return { type: 'BOOLEAN' } as const
    case 'text':
      return { type: 'BYTE_ARRAY', converted_type: 'UTF8' } as const
    case 'json':
      return { type: 'BYTE_ARRAY', converted_type: 'JSON' } as const
    case 'time':
      return {
        type: 'INT64',
        converted_type: 'TIMESTAMP_MILLIS',
        logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: true, unit: 'MILLIS' },
      } as const
  }
}

function parquetValue(type: Column['type'], cell: Cell): unknown {
  if (type === 'integer' && typeof cell === 'number') return BigInt(cell)
  if (type === 'time' && typeof cell === 'string') return BigInt(Date.parse(cell))
  return cell
}
