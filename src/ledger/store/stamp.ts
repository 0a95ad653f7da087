import { z } from 'zod'
import type { Clock } from '../../base/clock.ts'
import { BrokerFault, messageOf } from '../../base/errors.ts'
import { timeText } from '../../contract/fields.ts'
import { type Entry, type EntryBody, entrySchema } from '../entry.ts'

/**
 * Turns what a stage says into an entry: adds version and time and checks it against the closed schema, so that nothing the
 * schema has no field for can reach the disk. Times never go back, even when the clock does.
 */
export function createStamp(clock: Clock, lastTimeMs: number): (body: EntryBody) => Entry {
  let last = lastTimeMs
  let text = timeText(last)
  return (body) => {
    const now = clock.now()
    if (now > last) {
      last = now
      text = timeText(now)
    }
    return entrySchema.parse({ ...body, v: 1, time: text })
  }
}

/** The fault for an entry that does not fit. It names fields, never what they hold. */
export function unfit(kind: string, cause: unknown): BrokerFault {
  const where =
    cause instanceof z.ZodError
      ? cause.issues.map(({ path, code }) => `${path.join('.') || 'entry'}: ${code}`).join(', ')
      : messageOf(cause)
  return new BrokerFault('internal', `an entry of kind ${kind} does not fit the schema (${where})`)
}
