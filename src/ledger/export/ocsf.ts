import type { Entry } from '../entry.ts'
import { type EntryRow, knownEntry } from './entry-row.ts'
import type { Format } from './format.ts'
import { ocsfDetailsOf } from './ocsf-kinds.ts'
import { type Severity, severityOf } from './severity.ts'

/** Version of the schema that events follow. */
const ocsfVersion = '1.8.0'

/** One OCSF event a line. @see https://schema.ocsf.io/1.8.0 */
export function ocsfFormat(origin: string): Format {
  return {
    begin: () => '',
    add: (row) => `${JSON.stringify(ocsfEvent(row, knownEntry(row), origin))}\n`,
    end: () => '',
  }
}

/**
 * The event of an entry. `metadata` says where the entry stands in its log, `raw_data` is the entry as it was recorded and
 * `raw_data_hash` its leaf hash, so that an event leads back to its proof.
 */
export function ocsfEvent(row: EntryRow, entry: Entry, origin: string): Readonly<Record<string, unknown>> {
  const { eventClass, activity, ...details } = ocsfDetailsOf(entry)
  const [activityId, activityName] = activity
  return {
    category_uid: Math.floor(eventClass / 1000),
    class_uid: eventClass,
    activity_id: activityId,
    activity_name: activityName,
    type_uid: eventClass * 100 + activityId,
    severity_id: severityIds[severityOf(entry)],
    time: Date.parse(entry.time),
    message: messageOf(entry),
    ...details,
    metadata: {
      version: ocsfVersion,
      product: { name: 'writ' },
      uid: `${origin}/${row.index}`,
      log_name: origin,
      sequence: row.index,
      event_code: entry.kind,
      original_time: entry.time,
      correlation_uid: entry.grant ?? entry.composite ?? entry.task ?? entry.approval ?? entry.revocation,
    },
    raw_data: row.text,
    raw_data_hash: { algorithm_id: 99, algorithm: 'RFC 6962 leaf hash, SHA-256', value: row.leafHash },
  }
}

const severityIds: Readonly<Record<Severity, number>> = { info: 1, low: 2, medium: 3, high: 4, critical: 5 }

const messageOf = ({ kind, credential, purpose, workload }: Entry): string =>
  [kind, credential ?? purpose, workload === undefined ? undefined : `of ${workload}`]
    .filter((part) => part !== undefined)
    .join(' ')
