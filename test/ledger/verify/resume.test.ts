import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { EntryBody } from '../../../src/ledger/entry.ts'
import { signingKeyOf } from '../../../src/ledger/log/note.ts'
import type { VerifyOptions, VerifyReport } from '../../../src/ledger/verify/check.ts'
import { StateError } from '../../../src/ledger/verify/verify-state.ts'
import {
  endedEntry,
  intentEntry,
  issuedEntry,
  loadedEntry,
  numberedEntry,
  stampedEntry,
} from '../../support/entries.ts'
import { origin, withFolder } from '../../support/ledger.ts'
import { edit, flipped, smallEntries, verifyDir } from '../../support/log-folder.ts'
import { writeRawLedger } from '../../support/raw-ledger.ts'
import { tileLog } from '../../support/tile-log.ts'

/** A story that is told over the whole log: what was loaded and issued in the first bundle ends in the last. */
const longStory = (count: number): string[] => {
  const bodies: EntryBody[] = [
    loadedEntry,
    intentEntry(1),
    { ...issuedEntry(1), expires: '2026-11-22T12:15:02.000Z' } as EntryBody,
  ]
  while (bodies.length < count - 1) bodies.push(numberedEntry(bodies.length))
  return [...bodies, endedEntry(1)].map((body, n) => stampedEntry(body, n))
}
const entries = longStory(1100)

type More = Partial<Omit<VerifyOptions, 'dir' | 'url'>>

/** Verifies until so many entries are checked, and leaves the state of that. */
async function interrupt(dir: string, stateFile: string, after: number, more: More = {}): Promise<void> {
  const stop = new AbortController()
  const run = verifyDir(dir, {
    ...more,
    stateFile,
    signal: stop.signal,
    onProgress: (progress) => progress.entries >= after && stop.abort(new Error('enough')),
  })
  await expect(run).rejects.toThrow('enough')
}

const withLog = (use: (at: { dir: string; state: string }) => Promise<void>): Promise<void> =>
  withFolder(async (folder) => {
    const dir = join(folder, 'log')
    await writeRawLedger(dir, entries, { segments: [1024] })
    await use({ dir, state: join(folder, 'verify.state') })
  })

const sizeIn = async (state: string): Promise<number> => {
  const { levels } = JSON.parse(await readFile(state, 'utf8')).progress
  return levels.reduce(
    (sum: number, row: string, level: number) => sum + (Buffer.from(row, 'base64').length / 32) * 256 ** level,
    0,
  )
}

describe('a verification that is interrupted', () => {
  it('goes on from any bundle to the same report, and takes its state away at the end', () =>
    withLog(async ({ dir, state }) => {
      const whole = await verifyDir(dir)
      expect(whole).toMatchObject({ ok: true, entries: 1100 })
      for (const after of [1, 257, 600, 1024]) {
        await interrupt(dir, state, after)
        expect(await sizeIn(state)).toBe(Math.ceil(after / 256) * 256)
        expect((await stat(state)).mode & 0o777).toBe(0o600)
        const seen: number[] = []
        const report = await verifyDir(dir, { stateFile: state, onProgress: (progress) => seen.push(progress.entries) })
        expect(report).toEqual(whole)
        expect(seen[0]).toBe(Math.min(1100, Math.ceil(after / 256) * 256 + 256))
        await expect(stat(state)).rejects.toMatchObject({ code: 'ENOENT' })
      }
    }))

  it('may be interrupted again and again, and never goes back', () =>
    withLog(async ({ dir, state }) => {
      for (const after of [256, 512, 768]) {
        await interrupt(dir, state, after)
        expect(await sizeIn(state)).toBe(after)
      }
      expect(await verifyDir(dir, { stateFile: state })).toEqual(await verifyDir(dir))
    }))

  it('keeps nothing once anything is wrong', () =>
    withLog(async ({ dir, state }) => {
      await edit(join(dir, 'tile/entries/001'), (bytes) => flipped(bytes, 90))
      await interrupt(dir, state, 768)
      await expect(stat(state)).rejects.toMatchObject({ code: 'ENOENT' })
    }))

  it('finds what is wrong in the rest as if it had not been interrupted', () =>
    withLog(async ({ dir, state }) => {
      await interrupt(dir, state, 300)
      await edit(join(dir, 'tile/entries/003'), (bytes) => flipped(bytes, 90))
      const report = await verifyDir(dir, { stateFile: state })
      expect(report.ok).toBe(false)
      expect(report).toEqual(await verifyDir(dir))
    }))

  it('goes on with a log that has grown', () =>
    withLog(async ({ dir, state }) => {
      await interrupt(dir, state, 600)
      await writeRawLedger(dir, [...entries, ...smallEntries(1800).slice(1100)], { segments: [1024] })
      expect(await verifyDir(dir, { stateFile: state })).toMatchObject({ ok: true, entries: 1800 })
    }))

  it('fails a log that was written anew or rolled back meanwhile', () =>
    withLog(async ({ dir, state }) => {
      await interrupt(dir, state, 600)
      const kept = await readFile(state)
      await tileLog([...smallEntries(5), ...entries.slice(5)]).write(dir)
      const rewritten = await verifyDir(dir, { stateFile: state })
      expect(rewritten).toMatchObject({ ok: false, problems: [{ rule: 'tile', path: 'tile/0/000' }] })
      await writeFile(state, kept)
      await tileLog(entries.slice(0, 700)).write(dir)
      const rolledBack = await verifyDir(dir, { stateFile: state })
      expect(rolledBack).toMatchObject({ ok: false, problems: [{ rule: 'resume' }, {}] })
    }))
})

describe('a state file', () => {
  it('is taken by no other verification', () =>
    withLog(async ({ dir, state }) => {
      await interrupt(dir, state, 300)
      const kept = await readFile(state, 'utf8')
      const other = signingKeyOf(origin, Buffer.alloc(32, 9)).vkey
      await expect(verifyDir(dir, { stateFile: state, vkey: other })).rejects.toThrow('other keys')
      await expect(verifyDir(dir, { stateFile: state, form: 'any' })).rejects.toThrow('another --entries')
      await expect(verifyDir(join(dir, '..'), { stateFile: state })).rejects.toThrow('another folder or URL')
      expect(await readFile(state, 'utf8')).toBe(kept)
    }))

  // Each takes the text of a sound state; none may make what is not sound pass, or end in anything but an answer.
  const hash = Buffer.alloc(32, 1).toString('base64')
  const change = (f: (progress: Record<string, unknown>) => void) => (text: string) => {
    const state = JSON.parse(text)
    f(state.progress)
    return JSON.stringify(state)
  }

  it.each<[string, (text: string) => string]>([
    ['that is empty', () => ''],
    ['cut short', (text) => text.slice(0, -1)],
    ['that is not JSON', () => 'state'],
    ['that is a list', () => '[]'],
    ['of another kind', (text) => text.replace('state 1', 'state 2')],
    ['with a field more', (text) => text.replace('{', '{"ok":true,')],
    ['with too many levels', change((p) => (p.levels = Array.from({ length: 9 }, () => '')))],
    ['with a row of a full tile', change((p) => (p.levels = ['', Buffer.alloc(256 * 32).toString('base64')]))],
    ['with half a hash', change((p) => (p.levels = ['', 'AAAA']))],
    ['between two bundles', change((p) => (p.levels = [hash, hash]))],
    ['with numbers that are none', change((p) => (p.absent = [[-1, 0.5]]))],
    [
      'with too many ranges',
      change((p) => (p.archived = Array.from({ length: 10_001 }, (_, n) => [2 * n, 2 * n + 1]))),
    ],
    [
      'with a grant in a state nobody knows',
      change((p) => (p.meaning = { lastMs: 0, skipped: false, policies: [], grants: [['g', { state: 'free' }]] })),
    ],
    ['with a key that nobody passed the log on to', change((p) => (p.learnt = [{ newKey: 'k', statement: 's' }]))],
  ])('%s is refused', (_, spoil) =>
    withLog(async ({ dir, state }) => {
      await interrupt(dir, state, 300)
      await writeFile(state, spoil(await readFile(state, 'utf8')))
      await expect(verifyDir(dir, { stateFile: state })).rejects.toThrow(StateError)
    }),
  )

  it.each<[string, (text: string) => string]>([
    ['of other hashes', change((p) => (p.levels = ['', `${hash.slice(0, -1)}=`]))],
    ['that skips a bundle', change((p) => (p.levels = ['', Buffer.alloc(96, 7).toString('base64')]))],
    [
      'that is of more than there can be',
      change(
        (p) =>
          (p.levels = Array.from({ length: 8 }, (_, n) => (n === 0 ? '' : Buffer.alloc(255 * 32).toString('base64')))),
      ),
    ],
    ['that counts entries as absent which were not', change((p) => (p.absent = [[0, Number.MAX_SAFE_INTEGER]]))],
  ])('%s is caught', (_, spoil) =>
    withLog(async ({ dir, state }) => {
      await interrupt(dir, state, 300)
      await writeFile(state, spoil(await readFile(state, 'utf8')))
      const report: VerifyReport = await verifyDir(dir, { stateFile: state })
      expect(report.ok).toBe(false)
      expect(report.problemCount).toBeGreaterThan(0)
    }),
  )
})
