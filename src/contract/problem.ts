import { z } from 'zod'
import { type Code, codes } from '../base/codes.ts'

/** RFC 9457 problem details with our members: a stable code, what to do, and the request to quote. */
export const problemSchema = z
  .object({
    type: z.string().describe('Link to the documentation of the code'),
    title: z.string(),
    status: z.int(),
    code: z.enum(Object.keys(codes) as [Code, ...Code[]]),
    detail: z.string(),
    fix: z.string().describe('What the caller can do about it'),
    request_id: z.string(),
    reasons: z
      .array(z.string())
      .describe('Names of the rules that failed; what they were compared with is in the ledger'),
  })
  .meta({ id: 'Problem' })

export type Problem = z.infer<typeof problemSchema>
