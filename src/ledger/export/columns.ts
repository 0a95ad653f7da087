import type { Entry } from '../entry.ts'
import { type EntryRow, knownEntry } from './entry-row.ts'

/** One column of a table of entries. `json` is a list or an object. */
export interface Column {
  readonly name: string
  readonly type: 'integer' | 'text' | 'boolean' | 'time' | 'json'
}

interface Source extends Column {
  /** Where the value stands, in a row or in its entry; the first that is there counts. */
  readonly from: readonly string[]
}

const column = (name: string, type: Column['type'], ...from: readonly string[]): Source => ({
  name,
  type,
  from: from.length === 0 ? [name] : from,
})

/**
 * Every field that an entry can have, so that a table loses nothing. The list is stable: names, types and order stay, and what is
 * added later comes last. docs/export.md says what each holds.
 */
const sources: readonly Source[] = [
  column('index', 'integer'),
  column('leaf_hash', 'text'),
  column('time', 'time'),
  column('kind', 'text'),
  column('actor_type', 'text', 'actor.type'),
  column('actor_name', 'text', 'actor.name'),
  column('actor_issuer', 'text', 'actor.issuer'),
  column('actor_subject', 'text', 'actor.subject'),
  column('actor_teams', 'json', 'actor.teams'),
  column('actor_reason', 'text', 'actor.reason'),
  column('workload', 'text'),
  column('owner', 'text'),
  column('purpose', 'text'),
  column('environment', 'text'),
  column('credential', 'text'),
  column('grant', 'text'),
  column('task', 'text'),
  column('approval', 'text'),
  column('policy', 'text'),
  column('request', 'text'),
  column('trace', 'text'),
  column('token', 'text'),
  column('code', 'text'),
  column('cause', 'text'),
  column('outcome', 'text'),
  column('reason', 'text'),
  column('detail', 'text'),
  column('expires', 'time'),
  column('ttl', 'integer'),
  column('sensitivity', 'text'),
  column('data', 'json'),
  column('ceilings', 'json'),
  column('engine', 'text'),
  column('mount', 'text'),
  column('role', 'text'),
  column('delivery', 'text'),
  column('exception', 'text'),
  column('ids', 'json'),
  column('lease_hash', 'text', 'lease_hash', 'lease.hash'),
  column('lease_sealed', 'text', 'lease.sealed'),
  column('renewable', 'boolean'),
  column('revocable', 'boolean'),
  column('static', 'boolean'),
  column('ambiguous', 'boolean'),
  column('latency_ms', 'integer'),
  column('attempts', 'integer'),
  column('rules', 'json'),
  column('suppressed', 'integer'),
  column('level', 'text'),
  column('approvers', 'json'),
  column('digest', 'text'),
  column('complete', 'boolean'),
  column('intent', 'text'),
  column('grants', 'integer'),
  column('source', 'text'),
  column('signal', 'text'),
  column('matched', 'integer'),
  column('verdict', 'text'),
  column('finding', 'text'),
  column('severity', 'text'),
  column('setting', 'text'),
  column('workloads', 'integer'),
  column('warnings', 'integer'),
  column('problems', 'json'),
  column('total', 'integer'),
  column('version', 'text'),
  column('engine_server', 'text'),
  column('bytes', 'integer'),
  column('new_key', 'text'),
  column('statement', 'text'),
  column('from', 'integer'),
  column('to', 'integer'),
  column('bundles', 'integer'),
  column('destination', 'text'),
  column('v', 'integer'),
  column('issuer', 'text'),
  column('subject', 'text'),
  column('effect', 'text'),
  column('event_time', 'time'),
  column('set', 'text'),
  column('trigger', 'text'),
  column('dry_run', 'boolean'),
  column('targets', 'integer'),
  column('failed', 'integer'),
  column('leases', 'integer'),
  column('orphans', 'integer'),
  column('foreign', 'integer'),
  column('gone', 'integer'),
  column('live', 'integer'),
  column('would_end', 'integer'),
  column('params', 'text'),
  column('generation', 'integer'),
  column('revocation', 'text'),
  column('match', 'text'),
  column('teams', 'json'),
  column('hold', 'integer'),
  column('task_grant', 'integer'),
  column('retry_key', 'text', 'idempotency_key'),
  column('retry_request', 'text', 'idempotency_request'),
  column('replaces', 'text'),
  column('params_sealed', 'text', 'caller_params'),
  column('heartbeat', 'integer'),
  column('run', 'text'),
  column('rotation', 'json'),
  column('composite', 'text'),
  column('parts', 'json'),
  column('credentials', 'json'),
  column('jkt', 'text'),
]

export const columns: readonly Column[] = sources

/** A value of a column: times as text, lists and objects as they are. */
export type Cell = string | number | boolean | object | undefined

/**
 * The cells of an entry, one for each column.
 * @throws EntryError when this version does not know the entry
 */
export function cellsOf(row: EntryRow): readonly Cell[] {
  const entry = knownEntry(row)
  const top = { ...entry, index: row.index, leaf_hash: row.leafHash }
  return readers.map((read) => read(top))
}

type Top = Entry & { readonly index: number; readonly leaf_hash: string }

const readers: readonly ((top: Top) => Cell)[] = sources.map(({ from }) => {
  const paths = from.map((path) => path.split('.'))
  return (top) => {
    for (const path of paths) {
      const value = path.reduce<unknown>(fieldOf, top)
      if (isCell(value)) return value
    }
    return undefined
  }
})

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined

const isCell = (value: unknown): value is Cell & {} => value !== undefined && value !== null
