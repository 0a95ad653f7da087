import { fieldText } from '../secret-fields.ts'
import type { Format } from './format.ts'

/** One field of the secret, exactly. */
export const raw = (field: string): Format => ({
  name: `raw:${field}`,
  takes: [],
  sets: true,
  prepare:
    ({ terminal }) =>
    (issued) => {
      const text = fieldText(issued, field)
      // The exact value for a pipe or a file; a terminal wants its prompt on the next line.
      return terminal && !text.endsWith('\n') ? `${text}\n` : text
    },
})
