import { toShell, toVariables } from '../secret-fields.ts'
import type { Format } from './format.ts'

/** `NAME=value` lines for a shell, under the names of `--env` where there are any. */
export const env: Format = {
  name: 'env',
  takes: [],
  sets: true,
  prepare:
    ({ mapping }) =>
    (issued) =>
      toShell(toVariables(issued, mapping)),
}
