import type { Clock } from '../base/clock.ts'
import { timeHeap } from './heap.ts'
import { createHits } from './hits.ts'
import { type Carrier, createLabels, noLabels } from './labels.ts'
import type { Indexing, LabelLimit, NewRecord, RecordKind, State } from './state.ts'

interface Stored extends Carrier {
  version: number
  value: unknown
  dueAtMs: number | undefined
  forgetAtMs: number | undefined
}

/** Ids that one step of a scan hands out. */
const scanned = 500

/**
 * State for one process. Verbs are atomic because none awaits between reading and writing.
 * A restart starts empty: the caller replays the ledger into it.
 */
export function memoryState(clock: Clock): State {
  const tables = {
    grant: createTable(clock),
    task: createTable(clock),
    approval: createTable(clock),
    subject: createTable(clock),
  }
  const claims = new Map<string, number>()
  const claimsByEnd = timeHeap()
  const hits = createHits(clock)
  const table = (kind: RecordKind) => tables[kind]

  return {
    async insert(kind, id, value, indexing, limits = []) {
      return table(kind).insertAll([{ id, value, indexing }], limits)
    },
    async insertAll(kind, added, limits = []) {
      return table(kind).insertAll(added, limits)
    },
    async get(kind, id) {
      return table(kind).get(id)
    },
    async swap(kind, id, version, value, indexing) {
      return table(kind).swap(id, version, value, indexing)
    },
    async find(kind, labels, page) {
      return table(kind).find(labels, page)
    },
    async *scan(kind) {
      yield* table(kind).scan()
    },
    async count(kind, label) {
      return table(kind).count(label)
    },
    async due(kind, beforeMs, limit) {
      return table(kind).due(beforeMs, limit)
    },
    async claim(key, untilMs) {
      const now = clock.now()
      for (let top = claimsByEnd.peek(); top !== undefined && top.atMs <= now; top = claimsByEnd.peek()) {
        claimsByEnd.pop()
        if (claims.get(top.id) === top.atMs) claims.delete(top.id)
      }
      if (claims.has(key)) return false
      claims.set(key, untilMs)
      claimsByEnd.push(untilMs, key)
      return true
    },
    async hit(key, max, windowMs, count = 1) {
      return { retryAfterMs: hits.count(key, max, windowMs, count) }
    },
    async hits(key) {
      return hits.within(key)
    },
    async close() {},
  }
}

function createTable(clock: Clock) {
  const records = new Map<string, Stored>()
  const labels = createLabels()
  const dueTimes = timeHeap()
  const forgetTimes = timeHeap()
  let sequence = 0

  const index = (stored: Stored, indexing: Indexing): void => {
    const { id } = stored
    labels.move(stored, indexing.labels)
    // The heaps hold the time already when it has not changed.
    if (indexing.dueAtMs !== undefined && indexing.dueAtMs !== stored.dueAtMs) dueTimes.push(indexing.dueAtMs, id)
    if (indexing.forgetAtMs !== undefined && indexing.forgetAtMs !== stored.forgetAtMs) {
      forgetTimes.push(indexing.forgetAtMs, id)
    }
    stored.dueAtMs = indexing.dueAtMs
    stored.forgetAtMs = indexing.forgetAtMs
  }
  const forget = (): void => {
    const now = clock.now()
    for (let top = forgetTimes.peek(); top !== undefined && top.atMs <= now; top = forgetTimes.peek()) {
      forgetTimes.pop()
      const stored = records.get(top.id)
      if (stored === undefined || stored.forgetAtMs !== top.atMs) continue
      labels.move(stored, [])
      records.delete(top.id)
    }
  }

  return {
    insertAll(added: readonly NewRecord[], limits: readonly LabelLimit[]) {
      forget()
      if (added.some(({ id }) => records.has(id))) return { outcome: 'exists' as const }
      for (const { label, max } of limits) {
        const more = added.filter(({ indexing }) => indexing.labels.includes(label)).length
        if (labels.count(label) + more > max) return { outcome: 'limited' as const, label }
      }
      for (const { id, value, indexing } of added) {
        const stored: Stored = {
          id,
          sequence: sequence++,
          version: 1,
          value,
          labels: noLabels,
          seen: 0,
          dueAtMs: undefined,
          forgetAtMs: undefined,
        }
        records.set(id, stored)
        index(stored, indexing)
      }
      return { outcome: 'inserted' as const }
    },
    get(id: string) {
      forget()
      const stored = records.get(id)
      return stored === undefined ? undefined : { version: stored.version, value: stored.value }
    },
    swap(id: string, version: number, value: unknown, indexing: Indexing): boolean {
      const stored = records.get(id)
      if (stored === undefined || stored.version !== version) return false
      stored.version++
      stored.value = value
      index(stored, indexing)
      return true
    },
    find(names: readonly string[], page: { after?: string; limit: number }): readonly string[] {
      forget()
      const afterSequence = page.after === undefined ? -1 : (records.get(page.after)?.sequence ?? -1)
      const found: Carrier[] = []
      for (const record of names.length === 0 ? records.values() : labels.having(names)) {
        if (record.sequence > afterSequence) found.push(record)
        // Without labels the table itself is in order, so the page is full as soon as it is long enough.
        if (names.length === 0 && found.length === page.limit) break
      }
      return found
        .sort((a, b) => a.sequence - b.sequence)
        .slice(0, page.limit)
        .map(({ id }) => id)
    },
    *scan(): Generator<readonly string[]> {
      // A Map may change while it is walked through.
      let ids: string[] = []
      for (const id of records.keys()) {
        ids.push(id)
        if (ids.length < scanned) continue
        yield ids
        ids = []
      }
      yield ids
    },
    count: labels.count,
    due(beforeMs: number, limit: number): readonly string[] {
      const found: { atMs: number; id: string }[] = []
      const seen = new Set<string>()
      while (found.length < limit) {
        const top = dueTimes.peek()
        if (top === undefined || top.atMs > beforeMs) break
        dueTimes.pop()
        // The heap may hold times that a later write replaced, and the same time twice.
        if (records.get(top.id)?.dueAtMs !== top.atMs || seen.has(top.id)) continue
        seen.add(top.id)
        found.push(top)
      }
      for (const { atMs, id } of found) dueTimes.push(atMs, id)
      return found.map(({ id }) => id)
    },
  }
}
