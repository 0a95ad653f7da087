import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { listSettings } from '../../src/config/settings.ts'

const page = fileURLToPath(new URL('../../docs/config.md', import.meta.url))
const begin = '<!-- settings: written by `npx vitest run test/config -u` from src/config/schema.ts -->'
const end = '<!-- end of settings -->'

function settingsTable(): string {
  const head = ['key', 'variable', 'default', 'meaning']
  const rows = listSettings().map(({ path, variable, values, defaultText, description }) => {
    const choice = values === undefined ? '' : ` (${values.join(', ')})`
    const fallback = defaultText === undefined ? '' : `\`${defaultText}\``
    return [`\`${path.join('.')}\``, `\`${variable}\``, fallback, `${description}${choice}`]
  })
  // Aligned, as the formatter wants it.
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0)))
  const line = (cells: string[]): string => `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

describe('docs/config.md', () => {
  it('lists every key with its variable, its default and its meaning, as the schema has them', async () => {
    const text = readFileSync(page, 'utf8')
    const [before, rest = ''] = text.split(begin)
    const [, after = ''] = rest.split(end)
    expect(text).toContain(begin)
    expect(text).toContain(end)
    await expect(`${before}${begin}\n\n${settingsTable()}\n\n${end}${after}`).toMatchFileSnapshot(page)
  })
})
