import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parquetReadObjects } from 'hyparquet'
import { describe, expect, it } from 'vitest'
import type { Io } from '../../src/cli/command.ts'
import { signingKeyOf } from '../../src/ledger/log/note.ts'
import type { FileLedger } from '../../src/ledger/store/file.ts'
import { eventually } from '../support/child.ts'
import { fakeClock } from '../support/clock.ts'
import {
  endedEntry,
  intentEntry,
  issuedEntry,
  loadedEntry,
  numberedEntry,
  renewedEntry,
  stampedEntry,
} from '../support/entries.ts'
import { crashedLedger, openTestLedger, origin, testKey, withFolder } from '../support/ledger.ts'
import { writ as run, type Said } from '../support/terminal.ts'
import { tileLog } from '../support/tile-log.ts'

const { vkey } = testKey
const story = [loadedEntry, intentEntry(1), issuedEntry(1), renewedEntry(1), endedEntry(1)]

const writ = (...args: string[]): Promise<Said> => run(['ledger', 'export', ...args])

/** A log of 300 entries, one a second from noon on, in `log` below a folder. */
const withLog = (use: (dir: string, folder: string) => Promise<void>): Promise<void> =>
  withFolder(async (folder) => {
    const dir = join(folder, 'log')
    const bodies = [...story, ...Array.from({ length: 295 }, (_, n) => numberedEntry(n))]
    await tileLog(bodies.map(stampedEntry)).write(dir)
    await use(dir, folder)
  })

const indexes = ({ out }: Said): number[] =>
  out
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line).index)

describe('writ ledger export', () => {
  it('writes every signed entry to stdout, and on stderr what it was taken from', () =>
    withLog(async (dir) => {
      const said = await writ(dir, '--vkey', vkey)
      expect(said.status).toBe(0)
      expect(indexes(said)).toEqual(Array.from({ length: 300 }, (_, n) => n))
      expect(said.err).toMatch(/exported +300 of 300 entries as jsonl\n/)
      expect(said.err).toContain(`log         ${origin}\n`)
      expect(said.err).toMatch(/checkpoint +over 300 entries, root [0-9a-f]{64}\nsignature +verified\n/)
    }))

  it('says so when no key vouches for the checkpoint', () =>
    withLog(async (dir) => {
      const { status, err } = await writ(dir)
      expect(status).toBe(0)
      expect(err).toContain('signature   NOT checked: no --vkey\n')
    }))

  it('takes one of several keys, as after a rotation', () =>
    withLog(async (dir) => {
      const other = signingKeyOf(origin, Buffer.alloc(32, 9)).vkey
      expect((await writ(dir, '--vkey', other, '--vkey', vkey)).status).toBe(0)
    }))

  it.each<[string, string[], number[]]>([
    ['after an index', ['--after', '297'], [298, 299]],
    ['from a time', ['--from', '2026-11-22T12:04:58Z'], [298, 299]],
    ['before a time, in any zone', ['--to', '2026-11-22T13:00:02+01:00'], [0, 1]],
    ['of a day', ['--from', '2026-11-23'], []],
    ['of some kinds', ['--kind', 'grant.issued', '--kind', 'grant.ended'], [2, 4]],
    ['of a workload', ['--workload', 'checkout'], [1, 2]],
    ['of an owner, after an index', ['--owner', 'payments', '--after', '1'], [2]],
  ])('writes only what is asked for: %s', (_, args, wanted) =>
    withLog(async (dir) => expect(indexes(await writ(dir, '--vkey', vkey, ...args))).toEqual(wanted)),
  )

  it.each(['jsonl', 'csv', 'ocsf'])('writes the same %s into a file as to stdout, mode 0600', (format) =>
    withLog(async (dir, folder) => {
      const out = join(folder, 'export')
      const said = await writ(dir, '--vkey', vkey, '--format', format, '--out', out, '--json')
      expect(said).toMatchObject({ status: 0, err: '' })
      expect(JSON.parse(said.out)).toMatchObject({
        format,
        read: 300,
        exported: 300,
        unsigned: 0,
        log: { origin, size: 300, redacted: false, signature_checked: true },
      })
      expect(await readFile(out, 'utf8')).toBe((await writ(dir, '--vkey', vkey, '--format', format)).out)
      expect((await stat(out)).mode & 0o777).toBe(0o600)
    }),
  )

  it('writes Parquet into a file', () =>
    withLog(async (dir, folder) => {
      const out = join(folder, 'export.parquet')
      expect((await writ(dir, '--vkey', vkey, '--format', 'parquet', '--out', out)).status).toBe(0)
      const rows = await parquetReadObjects({ file: new Uint8Array(await readFile(out)).buffer })
      expect(rows.map(({ index }) => Number(index))).toEqual(Array.from({ length: 300 }, (_, n) => n))
      expect(rows[2]).toMatchObject({ kind: 'grant.issued', time: new Date('2026-11-22T12:00:02.000Z') })
    }))

  it('exits 6 and leaves what stood there when the log was altered, and nothing half-written', () =>
    withLog(async (dir, folder) => {
      const out = join(folder, 'export')
      await writeFile(out, 'the export of yesterday')
      const bundle = join(dir, 'tile/entries/001.p/44')
      const bytes = await readFile(bundle)
      await writeFile(bundle, bytes.with(20, 0))
      const said = await writ(dir, '--out', out)
      expect(said.status).toBe(6)
      expect(said.err).toContain('tile/entries/001.p/44 holds other entries than the root was made over')
      expect(await readFile(out, 'utf8')).toBe('the export of yesterday')
      expect((await readdir(folder)).sort()).toEqual(['export', 'log'])
    }))

  it('exits 6 when the checkpoint is signed by another key, is missing, or is none', () =>
    withLog(async (dir) => {
      const other = signingKeyOf(origin, Buffer.alloc(32, 9)).vkey
      expect(await writ(dir, '--vkey', other)).toMatchObject({ status: 6, out: '' })
      await writeFile(join(dir, 'checkpoint'), 'nonsense')
      expect(await writ(dir)).toMatchObject({ status: 6, out: '' })
      await rm(join(dir, 'checkpoint'))
      expect(await writ(dir)).toMatchObject({ status: 6, out: '' })
    }))

  it('stops at a signal, and takes back what it wrote', () =>
    withLog(async (dir, folder) => {
      const onSignal: Io['onSignal'] = (_, handler) => {
        handler('SIGINT')
        return () => {}
      }
      const out = join(folder, 'export')
      expect((await run(['ledger', 'export', dir, '--out', out], { onSignal })).status).toBe(130)
      expect(await readdir(folder)).toEqual(['log'])
    }))

  it('shows how far it is on a terminal', () =>
    withLog(async (dir, folder) => {
      let nowMs = 0
      const clock = { now: () => (nowMs += 600), after: () => ({ cancel() {} }) }
      const isTty = { stdin: true, stdout: true, stderr: true }
      const { err } = await run(['ledger', 'export', dir, '--out', join(folder, 'export')], { clock, isTty })
      expect(err).toMatch(/\r300 entries read, 100 %, \d+ a second /)
    }))

  it('makes text of others harmless on a terminal, and leaves it as it is in a file', () =>
    withFolder(async (dir) => {
      const reason = '\u001b[2Jx\u202ey'
      await tileLog([stampedEntry({ kind: 'approval.denied', actor: { type: 'unproved' }, reason })]).write(dir)
      const isTty = { stdin: true, stdout: true, stderr: true }
      const { out } = await run(['ledger', 'export', dir], { isTty })
      expect(out).not.toContain('\u202e')
      expect(JSON.parse(out).entry.reason).toBe(reason)
      expect((await writ(dir)).out).toContain('\u202e')
    }))

  it('names an entry that a format cannot hold', () =>
    withFolder(async (dir) => {
      await tileLog([stampedEntry(loadedEntry), '{"kind":"of.tomorrow"}']).write(dir)
      expect(await writ(dir, '--format', 'csv')).toMatchObject({ status: 1 })
      expect((await writ(dir, '--format', 'csv')).err).toContain('entry 1 is of a kind or shape')
      expect(indexes(await writ(dir))).toEqual([0, 1])
    }))

  it('exits 1 when it cannot read or write, and 5 when nobody answers', () =>
    withLog(async (dir, folder) => {
      expect(await writ(join(folder, 'none'))).toMatchObject({ status: 1, out: '' })
      expect(await writ('http://127.0.0.1:9/log')).toMatchObject({ status: 5, out: '' })
      expect(await writ('http://elsewhere.example/log')).toMatchObject({ status: 2, out: '' })
      expect((await writ(dir, '--out', join(folder, 'none/there'))).status).toBe(1)
    }))

  it.each([
    ['no place', []],
    ['an unknown format', ['x', '--format', 'xml']],
    ['Parquet without a file', ['x', '--format', 'parquet']],
    ['--json without a file', ['x', '--json']],
    ['a key that is none', ['x', '--vkey', 'k']],
    ['an index that is none', ['x', '--after', '-1']],
    ['a time without a zone', ['x', '--from', '2026-11-22T12:00:00']],
    ['a day that is none', ['x', '--to', '2026-13-41']],
    ['a kind that is none', ['x', '--kind', 'grant.isued']],
  ])('exits 2 with %s', async (_, args) => {
    const { status, out } = await writ(...args)
    expect(status).toBe(2)
    expect(out).not.toContain('"index"')
  })
})

describe('the folder of a broker', () => {
  const until = (ledger: FileLedger): Promise<true> =>
    eventually(async () => ledger.signedSize() === ledger.head().size || undefined, 'a checkpoint over everything')

  it('is exported while it is written: what its newest checkpoint covered, whole and in order', () =>
    withFolder(async (dir) => {
      const clock = fakeClock()
      const ledger = await openTestLedger(dir, { clock, segmentBytes: 8000 })
      let stopped = false
      const writing = (async () => {
        for (let n = 0; !stopped; n++) {
          await Promise.all(Array.from({ length: 50 }, () => ledger.append(numberedEntry(n))))
          await clock.advance(100)
        }
      })()
      let seen = 0
      try {
        for (let round = 0; seen < 1000 || round < 10; round++) {
          const said = await writ(dir, '--vkey', vkey)
          expect(said.status, said.err).toBe(0)
          const size = Number(/over (\d+) entries/.exec(said.err)?.[1])
          expect(indexes(said)).toEqual(Array.from({ length: size }, (_, n) => n))
          expect(size).toBeGreaterThanOrEqual(seen)
          seen = size
        }
      } finally {
        stopped = true
        await writing
        await ledger.close()
      }
    }))

  it('is exported with the folders that older entries were moved to, and not without', () =>
    withFolder(async (folder) => {
      const [dir, archive, clock] = [join(folder, 'ledger'), join(folder, 'archive'), fakeClock()]
      const ledger = await openTestLedger(dir, { clock, archive, segmentBytes: 8000 })
      for (let n = 0; n < 600; n++) await ledger.append(numberedEntry(n))
      await clock.advance(100)
      await until(ledger)
      const actor = { type: 'broker', reason: 'test' } as const
      const moved = await eventually(async () => {
        const { bundles } = await ledger.archive({ before: 512, actor })
        return bundles > 0 || undefined
      }, 'that the segments of old entries have gone')
      expect(moved).toBe(true)
      await ledger.close()
      const without = await writ(dir, '--vkey', vkey)
      expect(without.status).toBe(6)
      expect(without.err).toContain('tile/entries/000 is missing')
      const said = await writ(dir, '--vkey', vkey, '--archive', folder, '--archive', archive)
      expect(said.status, said.err).toBe(0)
      expect(indexes(said)).toEqual(Array.from({ length: 601 }, (_, n) => n))
      expect(indexes(await writ(dir, '--vkey', vkey, '--kind', 'config.archived', '--after', '520'))).toEqual([600])
    }))
})

describe('entries that no checkpoint covers yet', () => {
  it('are written from the segments of a folder when no key is given, and counted', () =>
    withFolder(async (dir) => {
      await crashedLedger(dir, [story.slice(0, 3), story.slice(3)])
      const said = await writ(dir)
      expect(indexes(said)).toEqual([0, 1, 2, 3, 4])
      expect(said.err).toContain('unsigned    5 of the exported are after the checkpoint: not signed for yet\n')
      expect(indexes(await writ(dir, '--after', '3'))).toEqual([4])
      const signed = await writ(dir, '--vkey', vkey)
      expect(signed).toMatchObject({ status: 0, out: '' })
      expect(signed.err).toContain('exported    0 of 0 entries')
    }))

  it('are not made up where one is missing', () =>
    withFolder(async (dir) => {
      await crashedLedger(dir, [story])
      await writeFile(join(dir, 'segments', `${'7'.padStart(20, '0')}.log`), '')
      const said = await writ(dir)
      expect(said.status).toBe(6)
      expect(said.err).toContain('entry 5 is missing before segments/00000000000000000007.log')
    }))
})
