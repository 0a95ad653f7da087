import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { columns } from '../../../src/ledger/export/columns.ts'
import { ocsfDetailsOf } from '../../../src/ledger/export/ocsf-kinds.ts'
import { treatments } from '../../../src/ledger/export/redact.ts'
import { severityOf } from '../../../src/ledger/export/severity.ts'
import { fullEntries } from '../../support/entry-samples.ts'
import schema from '../../vectors/ocsf-1.8.0.json' with { type: 'json' }

const page = readFileSync(fileURLToPath(new URL('../../../docs/export.md', import.meta.url)), 'utf8')

/** Cells of the table that begins with that heading. */
function tableOf(first: string): string[][] {
  const lines = page.split('\n')
  const start = lines.findIndex((line) => line.startsWith(`| ${first} `))
  const end = lines.findIndex((line, at) => at > start && !line.startsWith('|'))
  return lines.slice(start + 2, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

const bare = (cell = ''): string => cell.replaceAll('`', '')

describe('docs/export.md', () => {
  it('lists every column with its type, in order', () => {
    const listed = tableOf('column').map(([name, type]) => ({ name: bare(name), type }))
    expect(listed).toEqual(columns.map(({ name, type }) => ({ name, type })))
    expect(new Set(columns.map(({ name }) => name)).size).toBe(columns.length)
  })

  it('says what each kind is in OCSF', () => {
    const classes: Readonly<Record<string, { readonly name: string }>> = schema.classes
    const listed = new Map(tableOf('kind').map(([kind, ...rest]) => [bare(kind), rest]))
    // The plainest entry of each kind: what makes one different is said below the table.
    const plain = fullEntries().map((entry) => {
      if (entry.kind === 'grant.failed') return { ...entry, ambiguous: false }
      return entry
    })
    expect([...listed.keys()]).toEqual(plain.map(({ kind }) => kind))
    for (const entry of plain) {
      const { eventClass, activity, status } = ocsfDetailsOf(entry)
      const [shownClass, shownActivity, shownStatus, shownSeverity] = listed.get(entry.kind) ?? []
      expect(shownClass).toBe(`${eventClass} ${classes[eventClass]?.name}`)
      expect(shownActivity).toBe(activity.join(' '))
      if (entry.kind !== 'grant.ended') expect(shownStatus?.split(', ')).toContain(status)
      expect(shownSeverity).toBe(severityOf(entry))
    }
  })

  it('lists every field that is redacted, with its class', () => {
    const listed = tableOf('field').flatMap(([fields = '', textClass]) =>
      fields.split(', ').map((field) => [bare(field), bare(textClass)]),
    )
    const redacted = Object.entries(treatments).filter(([, treatment]) => treatment !== 'kept')
    expect(new Map(listed as [string, string][])).toEqual(new Map(redacted))
  })
})
