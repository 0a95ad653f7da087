import { z } from 'zod'
import {
  approvalIdField,
  compositeIdField,
  grantIdField,
  nameField,
  revocationIdField,
  taskIdField,
  timeField,
} from './fields.ts'

const digestField = z.string().regex(/^[0-9a-f]{64}$/, 'SHA-256 in lower-case hexadecimal')
// Text as the ledger holds it, compared as a whole.
const exactText = z.string().min(1).max(512)
// Strict, where a coercion would read an empty text as 0.
const indexField = z
  .string()
  .regex(/^(?:0|[1-9]\d{0,14})$/, 'the index of an entry')
  .transform(Number)

/** What an entry can be asked for by; each value is compared whole. */
const entryTerms = {
  kind: z.string().max(64).optional(),
  workload: nameField.optional(),
  owner: nameField.optional(),
  purpose: nameField.optional(),
  environment: nameField.optional(),
  credential: nameField.optional(),
  grant: grantIdField.optional(),
  task: taskIdField.optional(),
  approval: approvalIdField.optional(),
  composite: compositeIdField.optional().describe('What was issued together, all or nothing'),
  revocation: revocationIdField.optional().describe('The order to revoke that caused it'),
  policy: digestField.optional().describe('Digest of the policy set that was in force'),
  request: exactText.optional().describe('The `x-request-id` of the request that caused it'),
  token: digestField.optional().describe('Fingerprint of the token that was presented'),
  jkt: z
    .string()
    .regex(/^[A-Za-z0-9_-]{43}$/, 'a SHA-256 thumbprint in base64url')
    .optional()
    .describe('Thumbprint (RFC 7638) of the key that the caller proved it holds'),
  code: z.string().max(64).optional().describe('Code of a refusal or a failure'),
  subject: exactText.optional().describe('Subject of the token of whoever did it'),
  id: exactText
    .optional()
    .describe(
      'Public identifier of what was minted: database user, certificate serial, SSH key id, …; or hash of a lease',
    ),
  from: timeField.optional().describe('Not before this time'),
}

export const entryFilterSchema = z.strictObject({
  ...entryTerms,
  to: timeField.optional().describe('Before this time'),
  after: indexField.optional().describe('Only entries with a greater index'),
  before: indexField.optional().describe('Only entries with a smaller index'),
  order: z.enum(['asc', 'desc']).default('asc').describe('`desc` begins with the newest'),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
})
export type EntryFilter = z.infer<typeof entryFilterSchema>

export const eventFilterSchema = z.strictObject({
  ...entryTerms,
  after: indexField
    .optional()
    .describe('Begin after this index; `Last-Event-ID` wins. Without it and `from`, only what is recorded from now on'),
})
export type EventFilter = z.infer<typeof eventFilterSchema>

/** A ledger entry on the wire: where it stands, and the entry as it was recorded. */
export const storedEntrySchema = z
  .object({ index: z.int(), leaf_hash: z.string(), entry: z.record(z.string(), z.unknown()) })
  .meta({ id: 'LedgerEntry' })
export type StoredEntryView = z.infer<typeof storedEntrySchema>

export const entryListSchema = z
  .object({
    entries: z.array(storedEntrySchema),
    next: z
      .int()
      .nullable()
      .describe(
        'Send as `after` for the next page, as `before` when newest comes first; null at the end of the record',
      ),
  })
  .meta({ id: 'LedgerEntryList' })
export type EntryList = z.infer<typeof entryListSchema>

/** Body of `POST /v1/ledger/archive`. */
export const archiveRequestSchema = z
  .strictObject({
    before: z
      .union([timeField, z.int().nonnegative()])
      .describe(
        'Entries before this time, or with a smaller index, go; as far as their bundles are full and signed for',
      ),
  })
  .meta({ id: 'ArchiveRequest' })
export type ArchiveRequest = z.infer<typeof archiveRequestSchema>

export const archivedSchema = z
  .object({ from: z.int(), to: z.int().describe('The first entry that was not moved'), bundles: z.int() })
  .meta({ id: 'Archived' })
export type Archived = z.infer<typeof archivedSchema>
