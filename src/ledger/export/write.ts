import { readRow } from './entry-row.ts'
import { type ExportFilter, matches } from './filter.ts'
import type { Chunk, Format } from './format.ts'
import type { ExportSource } from './source.ts'

/** How much an export holds. */
export interface ExportCounts {
  /** Entries that were looked at. */
  readonly read: number
  /** Entries that the filter let through. */
  readonly exported: number
  /** Of the exported ones, those that no checkpoint covers. */
  readonly unsigned: number
}

/**
 * Writes the entries of a log that match, in order, a bundle at a time; `write` may hold it up.
 * @throws EntryError when the format cannot hold an entry; UnprovedError; whatever `write` and `onProgress` throw
 */
export async function writeExport(options: {
  readonly source: ExportSource
  readonly filter: ExportFilter
  readonly format: Format
  readonly write: (chunk: Chunk) => Promise<void>
  /** Called after each bundle with the index of its last entry. */
  readonly onProgress?: (index: number) => void
}): Promise<ExportCounts> {
  const { source, filter, format, write, onProgress } = options
  const counts = { read: 0, exported: 0, unsigned: 0 }
  await write(format.begin())
  for await (const entries of source.entries(filter.after === undefined ? 0 : filter.after + 1)) {
    const chunks: Chunk[] = []
    for (const entry of entries) {
      const row = readRow(entry)
      if (!matches(row, filter)) continue
      chunks.push(format.add(row))
      counts.exported++
      if (row.index >= source.head.size) counts.unsigned++
    }
    counts.read += entries.length
    for (const chunk of joined(chunks)) await write(chunk)
    const last = entries.at(-1)
    if (last !== undefined) onProgress?.(last.index)
  }
  await write(format.end())
  return counts
}

/** Neighbouring texts as one, so that a bundle is one write. */
function joined(chunks: readonly Chunk[]): readonly Chunk[] {
  if (chunks.every((chunk) => typeof chunk === 'string')) return [chunks.join('')]
  return chunks.filter((chunk) => chunk.length > 0)
}
