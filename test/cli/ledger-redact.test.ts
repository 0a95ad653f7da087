import { chmod, cp, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { formatSkey } from '../../src/ledger/log/note.ts'
import {
  endedEntry,
  intentEntry,
  issuedEntry,
  loadedEntry,
  numberedEntry,
  renewedEntry,
  stampedEntry,
} from '../support/entries.ts'
import { openTestLedger, origin, testKey, withFolder } from '../support/ledger.ts'
import { type Said, writ } from '../support/terminal.ts'
import { tileLog } from '../support/tile-log.ts'

const { vkey } = testKey
const story = [loadedEntry, intentEntry(1), issuedEntry(1), renewedEntry(1), endedEntry(1)]
const bodies = [...story, ...Array.from({ length: 595 }, (_, n) => numberedEntry(n))]

interface World {
  readonly folder: string
  readonly log: string
  readonly copy: string
  readonly keyFile: string
  readonly namesKey: string
  redact(...more: string[]): Promise<Said>
  check(...more: string[]): Promise<Said>
}

/** A log of 600 entries written by the broker's own writer, the key that signs it, and where the copy goes. */
const withWorld = (use: (world: World) => Promise<void>): Promise<void> =>
  withFolder(async (folder) => {
    const at = (name: string): string => join(folder, name)
    const [log, copy, keyFile, namesKey] = [at('log'), at('copy'), at('ledger.key'), at('names.key')]
    const ledger = await openTestLedger(log)
    for (const body of bodies) await ledger.append(body)
    await ledger.close()
    await writeFile(keyFile, formatSkey(origin, new Uint8Array(32).fill(7)), { mode: 0o600 })
    await writeFile(namesKey, 'ab'.repeat(32), { mode: 0o600 })
    await use({
      folder,
      log,
      copy,
      keyFile,
      namesKey,
      redact: (...more) =>
        writ(['ledger', 'redact', log, '--key', keyFile, '--names-key', namesKey, '--out', `${copy}/`, ...more]),
      check: (...more) =>
        writ(['ledger', 'redact', '--check', copy, '--original', log, '--names-key', namesKey, ...more]),
    })
  })

const exported = async (
  dir: string,
  ...more: string[]
): Promise<{ status: number; entries: Record<string, unknown>[] }> => {
  const { status, out } = await writ(['ledger', 'export', dir, ...more])
  const entries = out.split('\n').slice(0, -1)
  return { status, entries: entries.map((line) => JSON.parse(line).entry) }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

describe('writ ledger redact', () => {
  it('writes a copy that verifies against its manifest, story and all, until a byte of it is changed', () =>
    withWorld(async ({ log, copy, redact }) => {
      const original = await openTestLedger(log)
      const { root } = original.head()
      await original.close()
      expect((await redact()).status).toBe(0)
      const verify = async (...more: string[]) => {
        const { status, out } = await writ(['ledger', 'verify', copy, '--vkey', vkey, '--json', ...more])
        return { status, report: JSON.parse(out) }
      }
      expect(await verify()).toMatchObject({
        status: 0,
        report: { ok: true, entries: 600, skipped: 0, redactedFrom: root, form: 'writ' },
      })
      const since = await verify('--since', join(log, 'checkpoint'))
      expect(since).toMatchObject({ status: 6, report: { problems: [{ rule: 'since' }] } })
      const bundle = join(copy, 'tile/entries/001')
      const bytes = await readFile(bundle)
      await writeFile(bundle, bytes.fill((bytes[300] ?? 0) ^ 1, 300, 301))
      expect(await verify()).toMatchObject({ status: 6, report: { ok: false } })
      await rename(join(copy, 'manifest'), join(copy, 'checkpoint'))
      expect(await verify()).toMatchObject({ status: 6, report: { ok: false } })
    }))

  it('writes a log of its own under a signed manifest, entry for entry, in which no name stands', () =>
    withWorld(async ({ log, copy, redact }) => {
      const said = await redact('--json')
      expect(said.status).toBe(0)
      expect(JSON.parse(said.out)).toMatchObject({ origin, size: 600, transform: 1 })
      expect((await readdir(copy)).sort()).toEqual(['manifest', 'tile'])
      const [original, redacted] = [await exported(log), await exported(copy, '--vkey', vkey)]
      expect(redacted.status).toBe(0)
      const facts = (entries: Record<string, unknown>[]) =>
        entries.map(({ kind, time, expires }) => ({ kind, time, expires }))
      expect(facts(redacted.entries)).toEqual(facts(original.entries))
      const all = JSON.stringify(redacted.entries)
      for (const name of ['checkout', 'payments', 'orders', 'gr_000', 'system:serviceaccount', 'Show', 'eyJ']) {
        expect(all).not.toContain(name)
      }
    }))

  it('writes the same copy again from the same log and keys', () =>
    withWorld(async ({ folder, copy, redact }) => {
      await redact()
      await rename(copy, join(folder, 'first'))
      await redact()
      for (const file of ['manifest', 'tile/2/none', 'tile/1/000.p/2', 'tile/0/002.p/88', 'tile/entries/000']) {
        const read = (dir: string) => readFile(join(dir, file)).catch(() => undefined)
        expect(await read(copy), file).toEqual(await read(join(folder, 'first')))
      }
    }))

  it('makes the names key when asked to, mode 0600, and refuses one that others can read', () =>
    withWorld(async ({ folder, namesKey, copy, redact }) => {
      await chmod(namesKey, 0o644)
      expect((await redact()).err).toContain('others can read the key')
      await rename(namesKey, join(folder, 'elsewhere'))
      expect((await redact()).err).toContain('does not exist')
      expect(await exists(copy)).toBe(false)
      expect((await redact('--names-key-new')).status).toBe(0)
      expect((await stat(namesKey)).mode & 0o777).toBe(0o600)
      expect(await readFile(namesKey, 'utf8')).toMatch(/^[0-9a-f]{64}\n$/)
    }))

  it('replaces nothing, and leaves nothing half-written', () =>
    withWorld(async ({ folder, log, copy, redact }) => {
      await writeFile(copy, 'something else')
      expect((await redact()).status).toBe(1)
      expect(await readFile(copy, 'utf8')).toBe('something else')
      await rename(copy, join(folder, 'kept'))
      const bundle = join(log, 'tile/entries/001')
      await writeFile(bundle, (await readFile(bundle)).with(30, 0))
      expect((await redact()).status).toBe(6)
      expect((await readdir(folder)).sort()).toEqual(['kept', 'ledger.key', 'log', 'names.key'])
    }))

  it('refuses a log that another key signed, one that is redacted already, and an entry it has no rules for', () =>
    withWorld(async ({ folder, copy, keyFile, namesKey, redact }) => {
      const into = (dir: string, ...more: string[]) =>
        writ(['ledger', 'redact', dir, '--names-key', namesKey, '--out', join(folder, 'x'), '--key', ...more])
      await redact()
      expect((await into(copy, keyFile)).err).toContain('is a redacted copy already')
      const other = join(folder, 'other.key')
      await writeFile(other, formatSkey(origin, new Uint8Array(32).fill(8)), { mode: 0o600 })
      expect((await into(join(folder, 'log'), other)).status).toBe(6)
      await tileLog([stampedEntry(loadedEntry), '{"kind":"of.tomorrow"}']).write(join(folder, 'newer'))
      const said = await into(join(folder, 'newer'), keyFile)
      expect(said.err).toContain('entry 1 is of a kind or shape')
    }))

  it('gives the secret keys away nowhere', () =>
    withWorld(async ({ keyFile, namesKey, copy, redact, check }) => {
      const said = [await redact('--json'), await check('--json'), await check()]
      const manifest = await readFile(join(copy, 'manifest'), 'utf8')
      const all = JSON.stringify([said, manifest])
      for (const file of [keyFile, namesKey]) expect(all).not.toContain((await readFile(file, 'utf8')).trim())
    }))
})

describe('writ ledger redact --check', () => {
  it('passes the transform of that log, also when the log has grown since', () =>
    withWorld(async ({ log, redact, check }) => {
      await redact()
      const said = await check('--vkey', vkey)
      expect(said.status).toBe(0)
      expect(said.out).toContain(
        '600 entries of writ.test/ledger: it is the transform of that log\nsignatures verified',
      )
      const ledger = await openTestLedger(log)
      await ledger.append(numberedEntry(1))
      await ledger.close()
      expect((await check('--vkey', vkey)).status).toBe(0)
      const unsigned = await check()
      expect(unsigned).toMatchObject({ status: 0 })
      expect(unsigned.out).toContain('signatures NOT checked: no --vkey')
    }))

  const fault = async ({ check }: World): Promise<unknown> => {
    const said = await check('--vkey', vkey, '--json')
    expect(said.status).toBe(6)
    return JSON.parse(said.out).fault ?? JSON.parse(said.out).error.message
  }

  it('fails under another names key', () =>
    withWorld(async (world) => {
      await world.redact()
      await writeFile(world.namesKey, 'cd'.repeat(32))
      expect(await fault(world)).toBe('it was made with another names key')
    }))

  it('fails beside another log, a log that is too short, and one of another history', () =>
    withWorld(async (world) => {
      await world.redact()
      const original = join(world.folder, 'kept')
      const beside = async (payloads: readonly string[]): Promise<unknown> => {
        await tileLog(payloads).write(world.log)
        return fault(world)
      }
      await rename(world.log, original)
      const kept = bodies.map((body) => stampedEntry(body))
      expect(await beside(kept.slice(0, 100))).toBe('it holds 600 entries, and the log 100')
      // The clock of the ledger stood still, so every entry bears the same time.
      expect(await beside(kept.with(7, stampedEntry(numberedEntry(500))))).toBe(
        'entry 7 is not what the rules make of it',
      )
    }))

  it('fails when the copy was altered, also by somebody who signs it anew', () =>
    withWorld(async (world) => {
      await world.redact()
      const forged = bodies.map((body) => stampedEntry(body)).with(3, stampedEntry(numberedEntry(9)))
      await cp(world.log, join(world.folder, 'kept'), { recursive: true })
      await tileLog(forged).write(join(world.folder, 'forged'))
      const made = await writ([
        ...['ledger', 'redact', join(world.folder, 'forged'), '--key', world.keyFile],
        ...['--names-key', world.namesKey, '--out', join(world.folder, 'other')],
      ])
      expect(made.status).toBe(0)
      await rename(world.copy, join(world.folder, 'first'))
      await rename(join(world.folder, 'other'), world.copy)
      expect(await fault(world)).toBe('entry 3 is not what the rules make of it')
      const bundle = join(world.copy, 'tile/entries/000')
      await writeFile(bundle, (await readFile(bundle)).with(9, 0))
      expect(await fault(world)).toContain('does not hold: tile/entries/000')
    }))

  it('fails without a manifest', () =>
    withWorld(async (world) => {
      const { status, err } = await writ([
        ...['ledger', 'redact', '--check', world.log, '--original', world.log],
        ...['--names-key', world.namesKey],
      ])
      expect(status).toBe(6)
      expect(err).toContain('has no manifest')
    }))
})

describe('the command line of writ ledger redact', () => {
  it.each([
    ['nothing', []],
    ['no names key', ['log', '--key', 'k', '--out', 'o']],
    ['no key', ['log', '--names-key', 'n', '--out', 'o']],
    ['no place to write', ['log', '--names-key', 'n', '--key', 'k']],
    ['no log', ['--names-key', 'n', '--key', 'k', '--out', 'o']],
    ['a copy to check and no original', ['--check', 'c', '--names-key', 'n']],
    ['a copy to check and a place to write', ['--check', 'c', '--original', 'o', '--names-key', 'n', '--out', 'x']],
    ['an original and nothing to check', ['log', '--original', 'o', '--names-key', 'n', '--key', 'k', '--out', 'x']],
    ['a key that is none', ['--check', '.', '--original', '.', '--names-key', '/dev/null', '--vkey', 'x']],
  ])('exits 2 or 5 with %s', async (_, args) => {
    const { status, out } = await writ(['ledger', 'redact', ...args])
    expect([2, 5]).toContain(status)
    expect(out).toBe('')
  })
})
