import { UsageError } from '../command.ts'
import type { FormatValues } from './format.ts'

/** Where a database is. */
export interface Place {
  readonly host: string | undefined
  readonly port: string | undefined
  readonly database: string | undefined
}

/** What `--host`, `--port` and `--database` say. @throws UsageError for what no line of a file can hold */
export function placeOf({ host, port, database }: FormatValues, anyPort = false): Place {
  if (port !== undefined && !(anyPort && port === '*') && !(/^\d{1,5}$/.test(port) && Number(port) <= 65_535)) {
    throw new UsageError('--port is a number')
  }
  for (const [name, value] of Object.entries({ host, database })) {
    // A client would strip a blank at either end, and read another name than the one that was meant.
    if (value !== undefined && /\p{Cc}|^\s|\s$/u.test(value)) {
      throw new UsageError(`--${name} holds a control character, or a blank at one end`)
    }
  }
  return { host, port, database }
}
