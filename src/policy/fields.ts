import { z } from 'zod'
import { nameField, textField } from '../contract/fields.ts'

const dayMs = 86_400_000
const dayPattern = /^\d{4}-\d{2}-\d{2}$/

/** Milliseconds since the epoch at which a written date or time begins; `undefined` when there is no such day. */
export function dateStartMs(text: string): number | undefined {
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) return undefined
  // Date.parse rolls 2026-02-30 over to March; a date that does not read back as written is not a date.
  return new Date(ms).toISOString().startsWith(text.slice(0, 10)) ? ms : undefined
}

/** When something that lasts `until` this date is over: the end of that day in UTC, or the written instant itself. */
export function dateEndMs(text: string): number {
  const startMs = dateStartMs(text)
  // Unreachable after the schema; an end in the past is the closed answer.
  if (startMs === undefined) return 0
  return dayPattern.test(text) ? startMs + dayMs : startMs
}

/** A day (`2026-11-02`) or an instant in UTC (`2026-11-02T08:00:00Z`). */
export const dateField: z.ZodType<string, string> = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}Z)?$/, 'a date such as 2026-11-02, or 2026-11-02T08:00:00Z')
  .refine((text) => dateStartMs(text) !== undefined, 'a day that exists in the calendar')

/** The `sub` of a person, as a Team lists it. */
export const personField: z.ZodString = textField(200).min(1)

/** A condition in CEL; compiled and type-checked by the loader. */
export const celField: z.ZodString = z.string().min(1).max(4096)

/** One name, or a list of them; always a list inside. */
export const namesField = z.union([nameField, z.array(nameField).min(1).max(100)])

/** The environments that count as production: a purpose there needs the owner's sign-off. */
export const productionEnvironments: ReadonlySet<string> = new Set(['prod', 'production'])
