import { type Format, oneOf, refuseLong } from './format.ts'
import { placeOf } from './place.ts'

// MySQL and MariaDB read lines into 4,096 bytes, and take what is beyond for a line of its own.
const maxLineBytes = 4_000

/**
 * An option file for `--defaults-file` of the programs of MySQL and MariaDB. Values are in double quotes, where a backslash escapes and
 * `#` begins no comment. The database is for `mysql` alone: other programs refuse the option. @see MySQL, "Using Option Files"
 */
export const myCnf: Format = {
  name: 'my-cnf',
  takes: ['host', 'port', 'database'],
  prepare({ values }) {
    const { host, port, database } = placeOf(values)
    return (issued) => {
      const [user, password] = ['username', 'password'].map((field) => oneOf(issued, 'my-cnf', field))
      const group = (name: string, settings: Readonly<Record<string, string | undefined>>): string =>
        `[${name}]\n${Object.entries(settings)
          .map(([key, value]) => (value === undefined ? '' : `${line(key, value)}\n`))
          .join('')}`
      return (
        group('client', { host, port, user, password }) + (database === undefined ? '' : group('mysql', { database }))
      )
    }
  },
}

const escapes: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\b': '\\b' }

function line(key: string, value: string): string {
  const quoted = value.replace(/["\\\n\r\t\b]/g, (character) => escapes[character] ?? `\\${character}`)
  return refuseLong(`${key}="${quoted}"`, maxLineBytes, 'my-cnf')
}
