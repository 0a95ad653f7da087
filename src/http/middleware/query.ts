import type { z } from 'zod'
import { ok, type Result, refuse } from '../../base/result.ts'
import { invalid } from './issues.ts'

const maxQueryLength = 4096

/** The query of a URL by a strict schema: each name once, no name unknown. Refuses with `request_invalid`. */
export function readQuery<T>(url: string, schema: z.ZodType<T>): Result<T> {
  const start = url.indexOf('?')
  const text = start === -1 ? '' : url.slice(start + 1)
  if (text.length > maxQueryLength) return refuse('too_large', `query: more than ${maxQueryLength} characters`, 'query')
  const fields = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(text)) {
    if (fields.has(name)) return refuse('request_invalid', 'query: a name is given twice', 'duplicate')
    fields.set(name, value)
  }
  // `fromEntries` defines own members, so a name such as __proto__ stays a plain unknown key.
  const parsed = schema.safeParse(Object.fromEntries(fields))
  return parsed.success ? ok(parsed.data) : invalid(parsed.error, 'query')
}
