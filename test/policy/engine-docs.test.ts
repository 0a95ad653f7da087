import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { base, loadSet } from './organisation.ts'

const page = await readFile(new URL('../../docs/engines.md', import.meta.url), 'utf8')
const sections = page
  .split(/^## /m)
  .slice(1)
  .flatMap((section) => {
    const name = section.slice(0, section.indexOf('\n'))
    return [...section.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, yaml = '']) => [name, yaml] as const)
  })

describe('the Credentials of docs/engines.md load as they are', () => {
  test('there is one in each section', () => {
    const named = new Set(sections.map(([name]) => name))
    expect([...page.matchAll(/^## (.+)$/gm)].map(([, name]) => name).filter((name) => !named.has(name ?? ''))).toEqual(
      [],
    )
  })

  test.each(sections)('%s', async (name, yaml) => {
    const set = await loadSet({ ...base, 'documented.yaml': yaml })
    const added = set.credentials.filter(
      (credential) => !Object.values(base).some((text) => text.includes(`name: ${credential.name}\n`)),
    )
    expect(added.map(({ target }) => target.engine)).toEqual([name])
  })
})
