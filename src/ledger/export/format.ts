import type { EntryRow } from './entry-row.ts'

/** Part of an export; empty where there is nothing to write yet. */
export type Chunk = string | Uint8Array

/** Writes entries in one format, in order and in constant memory. */
export interface Format {
  /** What stands before the first entry. */
  begin(): Chunk
  /** @throws EntryError when the format cannot hold the entry */
  add(row: EntryRow): Chunk
  /** What stands after the last entry. */
  end(): Chunk
}

/** Names of the formats. */
export const formatNames = ['jsonl', 'csv', 'ocsf', 'parquet'] as const
export type FormatName = (typeof formatNames)[number]

/** The log an export was made from, as far as a format repeats it. */
export interface ExportedLog {
  readonly origin: string
  /** Entries of the head it was made from, and its root (hexadecimal). */
  readonly size: number
  readonly root: string
}

/** The format of that name. What only one of them needs is loaded with it. */
export async function openFormat(name: FormatName, log: ExportedLog): Promise<Format> {
  switch (name) {
    case 'jsonl':
      return (await import('./jsonl.ts')).jsonlFormat()
    case 'csv':
      return (await import('./csv.ts')).csvFormat()
    case 'ocsf':
      return (await import('./ocsf.ts')).ocsfFormat(log.origin)
    case 'parquet':
      return (await import('./parquet.ts')).parquetFormat(log)
  }
}
