import type { EntryRow } from './entry-row.ts'

/** Which entries to export; what is absent excludes none. */
export interface ExportFilter {
  /** Only entries with a greater index. */
  readonly after?: number
  /** Not before this time, as entries write it (RFC 3339, UTC, milliseconds). */
  readonly from?: string
  /** Before this time. */
  readonly to?: string
  readonly kinds?: readonly string[]
  readonly workload?: string
  readonly owner?: string
}

/** Whether the filter lets an entry through. */
export function matches({ value }: EntryRow, { from, to, kinds, workload, owner }: ExportFilter): boolean {
  const time = typeof value.time === 'string' ? value.time : ''
  return (
    (from === undefined || time >= from) &&
    (to === undefined || time < to) &&
    (kinds === undefined || kinds.some((kind) => kind === value.kind)) &&
    (workload === undefined || workload === value.workload) &&
    (owner === undefined || owner === value.owner)
  )
}
