import { type Format, lineOf } from './format.ts'
import { placeOf } from './place.ts'

/**
 * One line for `PGPASSFILE`: `host:port:database:user:password`, where a backslash comes before `:` and `\`. A field that is `*` alone
 * stands for any, so one of the secret that is `*` is escaped. @see PostgreSQL, "The Password File"
 */
export const pgpass: Format = {
  name: 'pgpass',
  takes: ['host', 'port', 'database'],
  prepare({ values }) {
    const { host = 'localhost', port = '*', database = '*' } = placeOf(values, true)
    const place = [host, port, database].map((text) => (text === '*' ? text : escapeField(text)))
    return (issued) => {
      const [user, password] = ['username', 'password'].map((field) => escapeField(lineOf(issued, 'pgpass', field)))
      return `${[...place, user, password].join(':')}\n`
    }
  },
}

// `#` begins a comment at the start of a line only; escaped it is a plain character everywhere.
const escapeField = (text: string): string => text.replace(/[:\\]|^[#*]/g, '\\$&')
