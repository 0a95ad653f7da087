import { jsonText } from '../terminal.ts'
import type { Format } from './format.ts'

/** The whole answer of the broker. */
export const json: Format = {
  name: 'json',
  takes: [],
  sets: true,
  prepare:
    ({ terminal }) =>
    (issued) =>
      `${jsonText(issued, terminal ? 2 : undefined)}\n`,
}
