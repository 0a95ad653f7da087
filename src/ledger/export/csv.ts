import { type Cell, cellsOf, columns } from './columns.ts'
import type { Format } from './format.ts'

/** RFC 4180 with a header line, UTF-8. */
export function csvFormat(): Format {
  return {
    begin: () => line(columns.map(({ name }) => name)),
    add: (row) => line(cellsOf(row).map(textOf)),
    end: () => '',
  }
}

const line = (cells: readonly string[]): string => `${cells.map(quoted).join(',')}\r\n`

function textOf(cell: Cell): string {
  if (cell === undefined) return ''
  if (typeof cell === 'string') return defused(cell)
  return typeof cell === 'object' ? defused(JSON.stringify(cell)) : String(cell)
}

const quoted = (text: string): string => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

/**
 * Text that no spreadsheet takes for a formula: an apostrophe comes before each sign that would begin one. Attacker-controlled:
 * reasons and subjects are what callers wrote. Spreadsheets of some languages split cells at semicolons or tabs, whatever
 * the quotes say, so what follows one of those counts as the beginning of a cell too.
 */
function defused(text: string): string {
  return text.replace(/(^|[;\t\r\n])([\s"]*)(?=[=+\-@\uff0b\uff0d\uff1d\uff20])/g, "$1$2'")
}
