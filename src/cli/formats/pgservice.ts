import { type Format, lineOf, refuseLong, unfit } from './format.ts'
import { placeOf } from './place.ts'

// libpq reads lines into 1,024 bytes, with the newline and a NUL, and refuses one that fills them.
const maxLineBytes = 1_021

/**
 * A service for `PGSERVICEFILE`, named after the credential: `psql service=orders-ro`. The format knows no quoting: a value is the
 * rest of its line, without blanks at the end. @see PostgreSQL, "The Connection Service File"
 */
export const pgService: Format = {
  name: 'pg-service',
  takes: ['host', 'port', 'database'],
  prepare({ values }) {
    const { host, port, database } = placeOf(values)
    return (issued) => {
      const settings = { host, port, dbname: database, user: field('username'), password: field('password') }
      const lines = Object.entries(settings).flatMap(([key, value]) =>
        value === undefined ? [] : [refuseLong(`${key}=${value}`, maxLineBytes, 'pg-service')],
      )
      return `${[`[${issued.credential}]`, ...lines].join('\n')}\n`

      function field(name: string): string {
        const text = lineOf(issued, 'pg-service', name)
        if (/[ \t\v\f]$/.test(text)) throw unfit('pg-service', name, 'ends with a blank')
        return text
      }
    }
  },
}
