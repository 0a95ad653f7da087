import { z } from 'zod'
import { durationPattern } from '../base/duration.ts'

/** A name from the policies: lower-case words joined by hyphens, at most 63 characters. */
export const nameField = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'a name: lower-case letters, digits and inner hyphens, at most 63')

/** A whole number with a unit, such as `15m`. */
export const durationField = z
  .string()
  .regex(durationPattern, 'a duration such as 30s, 15m, 1h or 90d')
  .meta({ examples: ['15m'] })

/** Text a person or program wrote: bounded, and no control characters but newline and tab. */
export const textField = (max: number): z.ZodString =>
  z
    .string()
    .max(max)
    .regex(/^(?:[\n\t]|\P{Cc})*$/u, 'no control characters')

/** Credentials that one request can ask for. */
export const mostParts = 10

export const grantIdField = z.string().regex(/^gr_[0-9a-hjkmnp-tv-z]{26}$/, 'a grant id')
export const compositeIdField = z.string().regex(/^cmp_[0-9a-hjkmnp-tv-z]{26}$/, 'the id of a set')
export const taskIdField = z.string().regex(/^tsk_[0-9a-hjkmnp-tv-z]{26}$/, 'a task id')
export const approvalIdField = z.string().regex(/^ap_[0-9a-hjkmnp-tv-z]{26}$/, 'an approval id')

export const revocationIdField = z.string().regex(/^rev_[0-9a-hjkmnp-tv-z]{26}$/, 'a revocation id')

/** RFC 3339 in UTC with milliseconds. */
export const timeField = z.iso.datetime({ precision: 3 })

/** Writes a time as the wire and the ledger do. */
export const timeText = (ms: number): string => new Date(ms).toISOString()
