import type { Entry, EntryBody } from './entry.ts'

/** Where a durable entry stands. */
export interface Position {
  /** Contiguous from 0, never reused. */
  readonly index: number
  /** RFC 6962 leaf hash, hexadecimal. */
  readonly leafHash: string
}

/** What its writer learns of an entry. */
export interface Appended extends Position {
  /** The time the entry bears (ms since the epoch). */
  readonly timeMs: number
}

export interface StoredEntry extends Position {
  readonly entry: Entry
}

/**
 * The append-only record. `append` resolves only when the entry is durable; entries become durable in the order of
 * the calls. After any failed write the ledger is poisoned: every later `append` throws `ledger_unavailable`,
 * and `failed` resolves so that the process can end.
 */
export interface Ledger {
  /** @throws BrokerFault `ledger_unavailable`; `internal` when the entry does not fit the schema's bounds. */
  append(body: EntryBody): Promise<Appended>
  /** Durable entries from `from` (inclusive) in order. */
  read(from: number): AsyncIterable<StoredEntry>
  get(index: number): Promise<StoredEntry | undefined>
  /** Those durable entries, in the order asked for; cheapest in ascending order. */
  pick(indexes: Iterable<number>): AsyncIterable<StoredEntry>
  /** Number of durable entries and the RFC 6962 root over them (hexadecimal). */
  head(): { readonly size: number; readonly root: string }
  /** Calls `listener` after each entry is durable, in order; returns the function that stops it. */
  subscribe(listener: (stored: StoredEntry) => void): () => void
  /** Resolves with the cause when the ledger can no longer be trusted to write. */
  readonly failed: Promise<Error>
  close(): Promise<void>
}
