import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { EntryBody } from '../../../src/ledger/entry.ts'
import { tilePath } from '../../../src/ledger/log/tile.ts'
import { acceptAnyEntries } from '../../../src/ledger/verify/entry-check.ts'
import { createMeaning, mostGrants, mostPolicies } from '../../../src/ledger/verify/meaning.ts'
import { createFindings } from '../../../src/ledger/verify/problem.ts'
import { createRanges, mostRanges } from '../../../src/ledger/verify/ranges.ts'
import { checkRecord } from '../../../src/ledger/verify/record-check.ts'
import type { VerifyProgress } from '../../../src/ledger/verify/verify-state-schema.ts'
import { grantOf, intentEntry, loadedEntry, numberedEntry, stampedEntry } from '../../support/entries.ts'
import { origin, withFolder } from '../../support/ledger.ts'
import { edit, smallEntries, verifyDir } from '../../support/log-folder.ts'
import { writeRawLedger } from '../../support/raw-ledger.ts'
import { decimalLog } from '../../support/tile-log.ts'

describe('what a verification holds in memory', () => {
  it('is no more of the tree and of bundles after many entries than after few', async () => {
    const size = 40_000
    const { files, root, checkpoint } = decimalLog(size)
    let [open, most] = [0, 0]
    const kept: VerifyProgress[] = []
    const findings = createFindings()
    await checkRecord({
      sources: [
        {
          atOnce: 16,
          checkpoint: async () => Buffer.from(checkpoint()),
          async tile(id) {
            most = Math.max(most, ++open)
            await new Promise(setImmediate)
            open--
            const bytes = files.get(tilePath(id))
            return bytes && { path: tilePath(id), width: id.width, bytes: Buffer.from(bytes) }
          },
          close: async () => {},
        },
      ],
      head: { origin, size, root, note: checkpoint() },
      entries: acceptAnyEntries(),
      ours: false,
      findings,
      from: undefined,
      signal: undefined,
      onProgress: undefined,
      keeper: { due: () => true, keep: async (progress) => void kept.push(progress) },
    })
    expect(findings.count).toBe(0)
    expect(kept).toHaveLength(156)
    const hashes = kept.map(({ levels }) => levels.reduce((sum, row) => sum + row.length / 32, 0))
    // One for each full tile of the leaves, until 256 of them become one.
    expect(hashes).toEqual(Array.from({ length: 156 }, (_, n) => n + 1))
    expect(most).toBeLessThanOrEqual(2 * 16)
  })

  it('is a hundred problems, however many there are', () => {
    const findings = createFindings()
    for (let n = 0; n < 20_000; n++) findings.add({ rule: 'entry', message: String(n) })
    expect(findings.first).toHaveLength(100)
    expect(findings.count).toBe(20_000)
  })

  it('is one range for those that follow on one another, and no more ranges than are kept', () => {
    const ranges = createRanges()
    for (let n = 0; n < 50_000; n++) expect(ranges.add([n, n + 1])).toBe(true)
    expect(ranges.all).toEqual([[0, 50_000]])
    for (let n = 1; n < mostRanges; n++) expect(ranges.add([100_000 * n, 100_000 * n + 1])).toBe(true)
    expect(ranges.add([1, 2])).toBe(false)
    expect(ranges.all).toHaveLength(mostRanges)
  })

  it('is nothing of grants that have ended, and of live grants and policy sets no more than are followed', () => {
    const meaning = createMeaning()
    const fact = { timeMs: 0 }
    for (let n = 0; n < 1000; n++) {
      for (const kind of ['grant.intent', 'grant.issued', 'grant.ended'] as const) {
        expect(meaning.next({ ...fact, kind, grant: grantOf(n) })).toEqual([])
      }
    }
    expect(meaning.state().grants).toEqual([])
    for (let n = 0; n < mostGrants; n++) meaning.next({ ...fact, kind: 'grant.intent', grant: String(n) })
    expect(meaning.state().grants).toHaveLength(mostGrants)
    expect(meaning.next({ ...fact, kind: 'grant.intent', grant: 'more' })).toHaveLength(1)
    expect(meaning.state().grants.length).toBeLessThanOrEqual(1)
    for (let n = 0; n < mostPolicies; n++) meaning.next({ ...fact, kind: 'policy.loaded', policy: String(n) })
    expect(meaning.next({ ...fact, kind: 'policy.loaded', policy: 'more' })).toHaveLength(1)
    expect(meaning.state().policies).toHaveLength(mostPolicies)
  })
})

describe('a log that is long enough for a thread of its own', () => {
  const size = 17_000
  const bodies: EntryBody[] = [loadedEntry, intentEntry(1)]
  const long = [
    ...bodies.map((body, n) => stampedEntry(body, n)),
    ...smallEntries(size).slice(bodies.length, -2),
    // The same grant once more, and a spare field: what is wrong rests on the first entries and on the form of the last.
    stampedEntry(intentEntry(1), size - 2),
    stampedEntry(numberedEntry(1), size - 1).replace('{', '{"aaa":1,'),
  ]

  it('is verified as a short one is, also when it is interrupted', () =>
    withFolder(async (folder) => {
      const dir = join(folder, 'log')
      await writeRawLedger(dir, long, { segments: [] })
      const { ok, entries, problems } = await verifyDir(dir)
      expect({ ok, entries }).toEqual({ ok: false, entries: size })
      const path = 'tile/entries/066.p/104'
      expect(problems).toMatchObject([
        { rule: 'meaning', index: size - 2, path },
        { rule: 'schema', index: size - 1, path },
      ])
      const stateFile = join(folder, 'state')
      const stop = new AbortController()
      const interrupted = verifyDir(dir, {
        stateFile,
        signal: stop.signal,
        onProgress: (progress) => progress.entries > 9000 && stop.abort(new Error('enough')),
      })
      await expect(interrupted).rejects.toThrow('enough')
      expect((await verifyDir(dir, { stateFile })).problems).toEqual(problems)
      await edit(join(dir, 'tile/entries/040'), (bytes) => {
        bytes.write('m1024', bytes.indexOf('"n1024') + 1)
        return bytes
      })
      expect((await verifyDir(dir)).problems[0]).toMatchObject({
        rule: 'entry',
        index: 10_240,
        path: 'tile/entries/040',
      })
    }))
})
