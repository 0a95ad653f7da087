import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { engineNames } from '../../src/policy/credential.ts'
import { parsePolicyText } from '../../src/policy/document.ts'

const page = await readFile(new URL('../../docs/engines.md', import.meta.url), 'utf8')
const documents = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = '']) => text)

test('every Credential on the page of engines is one that the loader takes', () => {
  expect(documents.length).toBeGreaterThan(2)
  for (const text of documents) expect(parsePolicyText(text).problems).toEqual([])
})

test('every engine is on it', () => {
  const shown = new Set(documents.map((text) => /^engine: ([a-z]+)$/m.exec(text)?.[1]))
  expect(engineNames.filter((name) => !shown.has(name))).toEqual([])
})
