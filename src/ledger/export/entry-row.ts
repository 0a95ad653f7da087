import { isUtf8 } from 'node:buffer'
import { isCanonical } from '../canonical.ts'
import { type Entry, entrySchema } from '../entry.ts'
import { EntryError } from './entry-error.ts'
import type { LogEntry } from './proved-log.ts'

/** An entry on its way into an export. */
export interface EntryRow {
  readonly index: number
  /** RFC 6962 leaf hash, hexadecimal: SHA-256 of a zero byte and the bytes of `text`. */
  readonly leafHash: string
  /** The canonical JSON that was recorded. */
  readonly text: string
  readonly value: Readonly<Record<string, unknown>>
}

/**
 * Reads an entry whatever its kind. Attacker-controlled where the log is not ours: what is no canonical JSON object would not
 * keep its hash, or its line, in an export.
 * @throws EntryError
 */
export function readRow({ index, leafHash, bytes }: LogEntry): EntryRow {
  const text = bytes.toString('utf8')
  const value = parse(text)
  if (!isRecord(value) || !isUtf8(bytes) || !isCanonical(text, value)) {
    throw new EntryError(index, 'is not an object in canonical JSON')
  }
  return { index, leafHash, text, value }
}

/**
 * The entry of a row, of a kind that this version knows.
 * @throws EntryError
 */
export function knownEntry({ index, value }: EntryRow): Entry {
  const parsed = entrySchema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new EntryError(index, 'is of a kind or shape that this version does not know; the format jsonl takes any')
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
