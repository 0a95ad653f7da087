import { glob, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { startDevVault } from '../../src/dev/vault/server.ts'

const page = new URL('../../docs/development-server.md', import.meta.url)
const sources = 'src/dev/vault/*.ts'
// Of kv version 1, which has no paths of its own.
const everyPath = '…'

test('the page names every path that the development server has a route for', async () => {
  const text = await readFile(page, 'utf8')
  const named = new Set([...text.matchAll(/`([^`]+)`/g)].map(([, name]) => name))
  const patterns = new Set<string>()
  for await (const file of glob(sources)) {
    for (const [, pattern = ''] of (await readFile(file, 'utf8')).matchAll(/\bpattern: '([^']+)'/g))
      patterns.add(pattern)
  }
  expect(patterns.size).toBeGreaterThan(60)
  const written = [...patterns].map((pattern) => pattern.replaceAll(/[:*][a-z]+/g, '…'))
  expect(written.filter((pattern) => pattern !== everyPath && !named.has(pattern))).toEqual([])
})

test('whatever else is asked gets 404 and a sentence that says where to look', async () => {
  const vault = await startDevVault({ rootToken: 'test-root' })
  try {
    for (const path of ['sys/raw/x', 'auth/token/tidy/x']) {
      const response = await fetch(`${vault.address}/v1/${path}`, { headers: { 'x-vault-token': 'test-root' } })
      expect(response.status).toBe(404)
      expect(await response.text()).toContain('docs/development-server.md lists what it does')
    }
  } finally {
    await vault.stop()
  }
})
