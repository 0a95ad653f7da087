/** Kinds of record that replicas share. */
export type RecordKind = 'grant' | 'task' | 'approval' | 'subject'

/** A stored record with the version that `swap` compares. */
export interface Versioned<T> {
  readonly version: number
  readonly value: T
}

/** What the store may find a record by. Recomputed by the caller on every write. */
export interface Indexing {
  /** Exact-match labels, such as `workload=checkout`; at most 24, each at most 200 characters. */
  readonly labels: readonly string[]
  /** When background work must look at the record again (ms since the epoch); absent when never. */
  readonly dueAtMs?: number
  /** When the record may be forgotten (ms since the epoch); absent when never. */
  readonly forgetAtMs?: number
}

/** A record to be stored, with what it is found by. */
export interface NewRecord {
  readonly id: string
  readonly value: unknown
  readonly indexing: Indexing
}

/** A ceiling on the number of records of one kind that carry a label. */
export interface LabelLimit {
  readonly label: string
  readonly max: number
}

/**
 * State that all replicas of one broker share. Every verb is atomic on its own; there is no get-then-set.
 * Memory holds it for one process (rebuilt by replaying the ledger), Redis for many.
 * Any verb may throw `BrokerFault('state_unavailable')`.
 */
export interface State {
  /** Stores a new record. `exists` when the id is taken; `limited` (naming the label) when a limit is full. */
  insert(
    kind: RecordKind,
    id: string,
    value: unknown,
    indexing: Indexing,
    limits?: readonly LabelLimit[],
  ): Promise<{ readonly outcome: 'inserted' | 'exists' } | { readonly outcome: 'limited'; readonly label: string }>
  /**
   * Stores all of these, or none: each limit must have room for as many as carry its label. One id comes once.
   * `exists` when an id is taken.
   */
  insertAll(
    kind: RecordKind,
    records: readonly NewRecord[],
    limits?: readonly LabelLimit[],
  ): Promise<{ readonly outcome: 'inserted' | 'exists' } | { readonly outcome: 'limited'; readonly label: string }>
  get(kind: RecordKind, id: string): Promise<Versioned<unknown> | undefined>
  /** Replaces the record if it still has that version; false when someone else was first. */
  swap(kind: RecordKind, id: string, version: number, value: unknown, indexing: Indexing): Promise<boolean>
  /** Ids that carry every label, oldest first, after `after` (an id), at most `limit`. */
  find(kind: RecordKind, labels: readonly string[], page: { after?: string; limit: number }): Promise<readonly string[]>
  /**
   * Ids of all records of the kind, a bounded number at a time and oldest first: to look through everything without holding others up.
   * Those that come or go meanwhile may be among them or not.
   */
  scan(kind: RecordKind): AsyncIterable<readonly string[]>
  /** How many records of the kind carry the label. */
  count(kind: RecordKind, label: string): Promise<number>
  /** Ids whose `dueAtMs` has passed, earliest first, at most `limit`. */
  due(kind: RecordKind, beforeMs: number, limit: number): Promise<readonly string[]>
  /** True for the first caller with this key until `untilMs`; false for every other. Replay protection. */
  claim(key: string, untilMs: number): Promise<boolean>
  /**
   * Counts one hit in a sliding window, or `count` at once and none of them alone; `retryAfterMs` is 0 when they fit and were counted.
   * A key keeps to one window length and one window never holds more than `max`.
   */
  hit(key: string, max: number, windowMs: number, count?: number): Promise<{ readonly retryAfterMs: number }>
  /** How many hits of that key the window holds now. */
  hits(key: string, windowMs: number): Promise<number>
  close(): Promise<void>
}
