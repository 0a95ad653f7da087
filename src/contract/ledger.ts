import { z } from 'zod'
import { grantIdField, nameField, taskIdField, timeField } from './fields.ts'

export const entryFilterSchema = z.strictObject({
  kind: z.string().max(64).optional(),
  workload: nameField.optional(),
  grant: grantIdField.optional(),
  owner: nameField.optional(),
  task: taskIdField.optional(),
  from: timeField.optional().describe('Not before this time'),
  to: timeField.optional().describe('Before this time'),
  after: z.coerce.number().int().nonnegative().optional().describe('Only entries with a greater index'),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
})
export type EntryFilter = z.infer<typeof entryFilterSchema>

/** A ledger entry on the wire: where it stands, and the entry as it was recorded. */
export const storedEntrySchema = z
  .object({ index: z.int(), leaf_hash: z.string(), entry: z.record(z.string(), z.unknown()) })
  .meta({ id: 'LedgerEntry' })
export type StoredEntryView = z.infer<typeof storedEntrySchema>

export const entryListSchema = z
  .object({
    entries: z.array(storedEntrySchema),
    next: z.int().nullable().describe('Send as `after` for the next page'),
  })
  .meta({ id: 'LedgerEntryList' })
export type EntryList = z.infer<typeof entryListSchema>
