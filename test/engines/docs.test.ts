import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { engineNames } from '../../src/policy/credential.ts'
import { base, loadSet } from '../policy/organisation.ts'

const page = await readFile(new URL('../../docs/engines.md', import.meta.url), 'utf8')
const documents = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, yaml = '']) => yaml)

test('every Credential of docs/engines.md loads as it stands', async () => {
  const { 'credentials.yaml': _, 'workload.yaml': __, ...rest } = base
  const files = Object.fromEntries(documents.map((yaml, at) => [`document-${at}.yaml`, yaml]))
  const set = await loadSet({ ...rest, ...files })
  expect(set.credentials.length).toBe(documents.length)
  const sections = [...page.matchAll(/^## (\S+)$/gm)].map(([, name]) => name)
  expect(sections).toEqual([...sections].sort())
  // Each section is about an engine, and shows a Credential of it.
  for (const name of sections) expect(engineNames).toContain(name)
  expect([...new Set(set.credentials.map(({ target }) => target.engine))].sort()).toEqual(sections)
})
