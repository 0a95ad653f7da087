import { z } from 'zod'
import { timeField } from './fields.ts'

export const revocationReportFilterSchema = z.strictObject({
  from: timeField.optional().describe('Ends from this time on; 30 days before `to` when absent'),
  to: timeField.optional().describe('Ends before this time; now when absent'),
})
export type RevocationReportFilter = z.infer<typeof revocationReportFilterSchema>

const latencyField = z
  .int()
  .nullable()
  .describe('Milliseconds, rounded up by less than 1 %; null when none was revoked')

/** How fast secrets really ended, from the ledger. */
export const revocationReportSchema = z
  .object({
    from: timeField,
    to: timeField,
    rows: z.array(
      z.object({
        engine: z.string().describe('`unknown` where the entry is of a version that did not say'),
        cause: z.string(),
        ended: z.int().describe('Grants that ended'),
        revoked: z.int().describe('Those that were revoked before they expired; the latencies are theirs'),
        p50_ms: latencyField,
        p95_ms: latencyField,
        p99_ms: latencyField,
        max_ms: latencyField,
        retried: z.int().describe('Those that took more than one attempt since the broker was started last'),
        expires_only: z.int().describe('Those whose secret nothing could end before it expired'),
      }),
    ),
    now: z
      .object({
        unrevoked: z.int().describe('Must end, and Vault has not revoked it'),
        irrevocable: z.int().describe('Those of them that are a finding'),
        expires_only: z.int().describe('Ended, and the secret works until it expires'),
      })
      .describe('What the latencies cannot show, as it is now'),
  })
  .meta({ id: 'RevocationReport' })
export type RevocationReport = z.infer<typeof revocationReportSchema>
