import { mkdir, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { EntryBody } from '../../../src/ledger/entry.ts'
import { tilePath } from '../../../src/ledger/log/tile.ts'
import { intentEntry, issuedEntry, loadedEntry, numberedEntry, stampedEntry } from '../../support/entries.ts'
import { withFolder } from '../../support/ledger.ts'
import { edit, flipped, verifyDir } from '../../support/log-folder.ts'
import { writeRawLedger } from '../../support/raw-ledger.ts'

const archived = (from: number, to: number, bundles = (to - from) / 256): EntryBody => ({
  kind: 'config.archived',
  actor: { type: 'broker', reason: 'archive' },
  from,
  to,
  bundles,
  destination: 'cold',
})

const bundle = (n: number): string => tilePath({ level: 'entries', n, width: 256 })

/** A log of 1,100 entries whose last ones say that bundles were moved, and two archives they may be moved to. */
const withMoved = (
  says: readonly EntryBody[],
  use: (at: {
    readonly dir: string
    readonly cold: string
    readonly colder: string
    readonly move: (n: number, to: string) => Promise<void>
  }) => Promise<void>,
): Promise<void> =>
  withFolder(async (folder) => {
    const [dir, cold, colder] = [join(folder, 'log'), join(folder, 'cold'), join(folder, 'colder')]
    // What the first bundle says later ones rest on: a policy set that was loaded, a grant that was opened.
    const bodies: EntryBody[] = [loadedEntry, intentEntry(1)]
    while (bodies.length < 1000) bodies.push(numberedEntry(bodies.length))
    bodies.push({ ...issuedEntry(1), expires: '2026-11-22T12:31:00.000Z' } as EntryBody)
    while (bodies.length < 1100 - says.length) bodies.push(numberedEntry(bodies.length))
    await writeRawLedger(dir, [...bodies, ...says].map(stampedEntry), { segments: [1024] })
    await use({
      dir,
      cold,
      colder,
      async move(n, to) {
        await mkdir(dirname(join(to, bundle(n))), { recursive: true })
        await rename(join(dir, bundle(n)), join(to, bundle(n)))
      },
    })
  })

describe('entries that were moved to an archive', () => {
  it('are read from it, from as many as there are', () =>
    withMoved([archived(0, 256), archived(256, 512)], async ({ dir, cold, colder, move }) => {
      await move(0, cold)
      await move(1, colder)
      // As the grant was issued 999 s after its intent and expires later than 15 min after that, nothing is wrong.
      const report = await verifyDir(dir, { archives: [cold, colder] })
      expect(report).toMatchObject({ ok: true, entries: 1100, skipped: 0 })
      const one = await verifyDir(dir, { archives: [cold] })
      expect(one).toMatchObject({ ok: false, entries: 1100 - 256, problems: [{ rule: 'archive', index: 256 }] })
    }))

  it('are a problem without it, unless their hashes are enough, which the report says', () =>
    withMoved([archived(0, 512)], async ({ dir, cold, move }) => {
      for (const n of [0, 1]) await move(n, cold)
      const without = await verifyDir(dir)
      expect(without).toMatchObject({ ok: false, skipped: 0, problems: [{ rule: 'archive', index: 0 }] })
      expect(without.problems[0]?.message).toMatch(/entries 0 to 511 were moved.*--archive DIR.*--skip-archived/)
      expect(await verifyDir(dir, { skipArchived: true })).toMatchObject({ ok: true, entries: 588, skipped: 512 })
      // Their hashes are checked all the same.
      await edit(join(dir, 'tile/0/001'), (bytes) => flipped(bytes, 100))
      const { ok, problems } = await verifyDir(dir, { skipArchived: true })
      expect(ok).toBe(false)
      expect(problems[0]?.path).toBe('tile/0/001')
    }))

  it('are checked as any other: a wrong one in an archive is named', () =>
    withMoved([archived(0, 256)], async ({ dir, cold, move }) => {
      await move(0, cold)
      await edit(join(cold, bundle(0)), (bytes) => {
        bytes.write('m9', bytes.indexOf('"n9"') + 1)
        return bytes
      })
      expect(await verifyDir(dir, { archives: [cold] })).toMatchObject({
        ok: false,
        problems: [{ rule: 'entry', index: 9, path: bundle(0) }],
      })
    }))

  it('are missing like any other where the log does not say that they were moved', () =>
    withMoved([archived(0, 256)], async ({ dir, cold, move }) => {
      for (const n of [0, 2]) await move(n, cold)
      const { ok, problems } = await verifyDir(dir, { skipArchived: true })
      expect({ ok, problems }).toMatchObject({
        ok: false,
        problems: [{ rule: 'bundle', index: 512, path: bundle(2), message: expect.stringContaining('is missing') }],
      })
    }))

  it.each<[string, EntryBody]>([
    ['no full bundles', archived(0, 100, 1)],
    ['nothing', archived(256, 256, 0)],
    ['entries that come after it', archived(0, 256 * 100)],
    ['another count than its range', archived(0, 512, 1)],
    ['a range that ends before it begins', archived(512, 256, 1)],
    ['a range between bundles', archived(1, 257, 1)],
  ])('cannot be of %s', (_, body) =>
    withMoved([body], async ({ dir, cold, move }) => {
      await move(0, cold)
      const { ok, problems } = await verifyDir(dir, { skipArchived: true })
      expect(ok).toBe(false)
      expect(problems.map(({ rule, index }) => [rule, index])).toEqual([
        ['archive', 1099],
        ['bundle', 0],
      ])
    }),
  )
})
