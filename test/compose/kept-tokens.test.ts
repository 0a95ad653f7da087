import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Secret } from '../../src/base/secret.ts'
import { keptTokens } from '../../src/compose/kept-tokens.ts'
import type { Generation } from '../../src/engines/generation.ts'
import { createBox } from '../../src/ledger/seal.ts'

let dir: string
const logged: { readonly event: string; readonly [field: string]: unknown }[] = []
beforeEach(async () => {
  logged.length = 0
  dir = await mkdtemp(join(tmpdir(), 'writ-kept-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const keep = (fields: Record<string, unknown>, event: string): void => void logged.push({ ...fields, event })
const open = (key = 1) =>
  keptTokens({ dir, box: createBox(new Uint8Array(32).fill(key)), log: { info: keep, warn: keep, error: keep } })

const generation = (number: number, over: Partial<Generation> = {}): Generation => ({
  number,
  token: new Secret(`canary-token-${number}`),
  by: 'b'.repeat(64),
  given: false,
  bornAtMs: 1_000,
  supersededAtMs: undefined,
  life: { fullTtlSeconds: 60, renewable: true, expiresAtMs: 61_000, endsAtMs: Number.POSITIVE_INFINITY },
  ...over,
})

test('what was kept is there again, with what never comes, and nobody else can read it', async () => {
  const kept = [generation(3, { supersededAtMs: 7_000, given: true }), generation(4)]
  await open().save(kept)
  const loaded = await open().load()
  expect(loaded.map(({ token, ...rest }) => ({ ...rest, token: token.reveal() }))).toEqual(
    kept.map(({ token, ...rest }) => ({ ...rest, token: token.reveal() })),
  )
  const path = join(dir, 'vault-tokens')
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(await readFile(path, 'latin1')).not.toContain('canary')
  expect(logged).toEqual([])
})

test('the last of several at once is the one that stays', async () => {
  const store = open()
  await Promise.all([1, 2, 3].map((number) => store.save([generation(number)])))
  expect((await open().load()).map(({ number }) => number)).toEqual([3])
})

test('no file is nothing kept; one that cannot be read is told of, and quotes nothing', async () => {
  expect(await open().load()).toEqual([])
  expect(logged).toEqual([])
  await open().save([generation(1)])
  const path = join(dir, 'vault-tokens')
  const good = await readFile(path, 'latin1')
  expect(await open(2).load()).toEqual([])
  for (const spoilt of ['', 'canary', good.slice(0, -9), `${'x'.repeat(2 * 1024 * 1024)}`]) {
    await writeFile(path, spoilt)
    expect(await open().load()).toEqual([])
  }
  expect(logged.map(({ event }) => event)).toEqual(Array(5).fill('vault.tokens_unreadable'))
  expect(JSON.stringify(logged)).not.toContain('canary')
})

test('a folder that cannot be written costs a restart, not the session', async () => {
  await rm(dir, { recursive: true })
  await open().save([generation(1)])
  expect(logged.map(({ event }) => event)).toEqual(['vault.tokens_not_kept'])
})
