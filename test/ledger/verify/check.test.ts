import { readFile, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { canonicalJson } from '../../../src/ledger/canonical.ts'
import type { EntryBody } from '../../../src/ledger/entry.ts'
import { NoteError, signingKeyOf } from '../../../src/ledger/log/note.ts'
import { segmentHeaderBytes } from '../../../src/ledger/store/segments.ts'
import { type VerifyReport, verifyLedger } from '../../../src/ledger/verify/check.ts'
import {
  endedEntry,
  grantOf,
  intentEntry,
  issuedEntry,
  loadedEntry,
  numberedEntry,
  renewedEntry,
} from '../../support/entries.ts'
import { crashedLedger, openTestLedger, origin, segmentFile, testKey, withFolder } from '../../support/ledger.ts'
import { writeRawLedger } from '../../support/raw-ledger.ts'

const { vkey } = testKey

async function writeLedger(dir: string, bodies: readonly EntryBody[], segmentBytes?: number): Promise<void> {
  const ledger = await openTestLedger(dir, segmentBytes === undefined ? {} : { segmentBytes })
  for (const body of bodies) await ledger.append(body)
  await ledger.close()
}

const verdict = ({ ok, problems }: VerifyReport) => ({ ok, problems: problems.map(({ rule, index }) => [rule, index]) })
const stamped = (body: object, time = '2026-11-22T12:00:00.000Z'): string => canonicalJson({ ...body, v: 1, time })
/** As late as the purpose allows, fifteen minutes after issuance. */
const renewal: EntryBody = { ...renewedEntry(1), expires: '2026-11-22T12:15:00.000Z' } as EntryBody
const story = [loadedEntry, intentEntry(1), issuedEntry(1), renewal, endedEntry(1)]

describe('verifying a ledger', () => {
  it('passes one that is whole, over several segments, and says what the checkpoint covers', () =>
    withFolder(async (dir) => {
      await writeLedger(dir, [...story, ...Array.from({ length: 60 }, (_, n) => numberedEntry(n))], 2000)
      const report = await verifyLedger({ dir, vkey })
      expect(report).toMatchObject({ ok: true, origin, entries: 65, signed: { size: 65 }, unsigned: 0, problems: [] })
    }))

  it('passes an empty one', () =>
    withFolder(async (dir) => {
      await writeLedger(dir, [])
      expect(await verifyLedger({ dir, vkey })).toMatchObject({ ok: true, entries: 0, signed: { size: 0 } })
    }))

  it('fails with any byte of any segment changed, and names the entry that holds it', () =>
    withFolder(async (dir) => {
      const bodies = [loadedEntry, numberedEntry(1), numberedEntry(2), numberedEntry(3)]
      await writeLedger(dir, bodies)
      const bytes = await readFile(segmentFile(dir))
      const starts: number[] = []
      for (let at = segmentHeaderBytes; at < bytes.length; at += 16 + bytes.readUInt32BE(at + 4)) starts.push(at)
      expect(starts).toHaveLength(bodies.length)
      for (let offset = 0; offset < bytes.length; offset++) {
        const changed = Buffer.from(bytes)
        changed[offset] = (changed[offset] ?? 0) ^ (1 << (offset % 8))
        await writeFile(segmentFile(dir), changed)
        const report = await verifyLedger({ dir, vkey })
        expect(report.ok, `byte ${offset}`).toBe(false)
        const index = Math.max(
          0,
          starts.findLastIndex((start) => start <= offset),
        )
        expect(report.problems[0], `byte ${offset}`).toMatchObject({
          rule: 'segment',
          index,
          path: 'segments/00000000000000000000.log',
          offset: offset < segmentHeaderBytes ? 0 : starts[index],
        })
      }
    }))

  it('fails with any byte of the checkpoint changed', () =>
    withFolder(async (dir) => {
      await writeLedger(dir, [numberedEntry(1)])
      const bytes = await readFile(join(dir, 'checkpoint'))
      for (let offset = 0; offset < bytes.length; offset++) {
        const changed = Buffer.from(bytes)
        changed[offset] = (changed[offset] ?? 0) ^ 1
        await writeFile(join(dir, 'checkpoint'), changed)
        expect(verdict(await verifyLedger({ dir, vkey })), `byte ${offset}`).toEqual({
          ok: false,
          problems: [['checkpoint', undefined]],
        })
      }
    }))

  it('fails without a checkpoint, and with one of another key, origin, size or root', () =>
    withFolder(async (dir) => {
      await writeLedger(dir, [numberedEntry(1), numberedEntry(2)])
      const payloads = [stamped(numberedEntry(1)), stamped(numberedEntry(2))]
      const failing = async (...problems: [string, number?][]): Promise<void> => {
        const expected = problems.map(([rule, index]) => [rule, index])
        expect(verdict(await verifyLedger({ dir, vkey }))).toEqual({ ok: false, problems: expected })
      }
      await writeRawLedger(dir, payloads, { key: signingKeyOf(origin, Buffer.alloc(32, 9)) })
      await failing(['checkpoint'])
      await writeRawLedger(dir, payloads, { checkpoint: { size: 3 } })
      // What it claims to be over is looked for: in tiles, and in the segment.
      await failing(['tile'], ['stopped'], ['bundle', 0], ['segment', 2])
      await writeRawLedger(dir, payloads, { checkpoint: { size: 1 } })
      await failing(['root'])
      await writeRawLedger(dir, payloads, { checkpoint: { root: Buffer.alloc(32) } })
      await failing(['root'])
      await writeRawLedger(dir, [], { checkpoint: { root: Buffer.alloc(32) } })
      await failing(['root'])
      await unlink(join(dir, 'checkpoint'))
      await failing(['checkpoint'])
    }))

  it('passes what a crash left after the checkpoint, and reports it', () =>
    withFolder(async (dir) => {
      await crashedLedger(dir, [[numberedEntry(1)], [numberedEntry(2)]])
      expect(await verifyLedger({ dir, vkey })).toMatchObject({ ok: true, entries: 2, unsigned: 2, unfinishedBytes: 0 })
      const { length } = await readFile(segmentFile(dir))
      await truncate(segmentFile(dir), length - 10)
      const report = await verifyLedger({ dir, vkey })
      expect(report).toMatchObject({ ok: true, entries: 1, unsigned: 1 })
      expect(report.unfinishedBytes).toBeGreaterThan(16)
    }))

  it('says how far it is', () =>
    withFolder(async (dir) => {
      await writeLedger(dir, story)
      const seen: number[] = []
      await verifyLedger({ dir, vkey, onProgress: ({ entries }) => seen.push(entries) })
      expect(seen).toEqual([5])
    }))

  it('takes no key that is not one', () => expect(verifyLedger({ dir: '.', vkey: 'key' })).rejects.toThrow(NoteError))
})

describe('verifying against a checkpoint saved earlier', () => {
  const saved = async (dir: string): Promise<string> => readFile(join(dir, 'checkpoint'), 'utf8')

  it('passes a ledger that has grown since', () =>
    withFolder(async (dir) => {
      await writeLedger(dir, [numberedEntry(1)])
      const since = await saved(dir)
      await writeLedger(dir, [numberedEntry(2), numberedEntry(3)])
      expect(await verifyLedger({ dir, vkey, since })).toMatchObject({ ok: true, entries: 3, since: { size: 1 } })
    }))

  it('fails a ledger that was rolled back, though all it holds is signed for', () =>
    withFolder(async (yesterday) =>
      withFolder(async (today) => {
        await writeLedger(yesterday, [numberedEntry(1)])
        await writeLedger(today, [numberedEntry(1), numberedEntry(2)])
        const report = await verifyLedger({ dir: yesterday, vkey, since: await saved(today) })
        expect(verdict(report)).toEqual({ ok: false, problems: [['since', undefined]] })
        expect(report.problems[0]?.message).toContain('over 2 entries, and only 1')
      }),
    ))

  it('fails a ledger that was written anew, though all it holds is signed for', () =>
    withFolder(async (dir) =>
      withFolder(async (forged) => {
        await writeLedger(dir, [numberedEntry(1), numberedEntry(2)])
        await writeLedger(forged, [numberedEntry(1), numberedEntry(3), numberedEntry(4)])
        const report = await verifyLedger({ dir: forged, vkey, since: await saved(dir) })
        expect(verdict(report)).toEqual({ ok: false, problems: [['since', undefined]] })
      }),
    ))

  it('fails on a saved checkpoint that was not signed by the key', () =>
    withFolder(async (dir) => {
      await writeLedger(dir, [numberedEntry(1)])
      const since = (await saved(dir)).replace('\n1\n', '\n0\n')
      expect(verdict(await verifyLedger({ dir, vkey, since }))).toEqual({ ok: false, problems: [['since', undefined]] })
    }))
})

describe('verifying what the entries say', () => {
  const problemsOf = async (payloads: readonly (string | Uint8Array)[]): Promise<VerifyReport> =>
    withFolder(async (dir) => {
      await writeRawLedger(dir, payloads)
      return verifyLedger({ dir, vkey })
    })

  it.each<[string, string, string | Uint8Array]>([
    ['is not JSON', 'canonical', '{'],
    ['has spaces', 'canonical', `${stamped(numberedEntry(1)).slice(0, -1)} }`],
    ['has a key twice', 'canonical', stamped(numberedEntry(1)).replace('{', '{"actor":1,')],
    [
      'has keys out of order',
      'canonical',
      JSON.stringify({ v: 1, time: '2026-11-22T12:00:00.000Z', ...numberedEntry(1) }),
    ],
    ['is not UTF-8', 'canonical', Buffer.from(stamped(numberedEntry(1)).replace('n1', '\u00ff'), 'latin1')],
    ['has a field nobody knows', 'schema', stamped({ ...numberedEntry(1), secret: 'x' })],
    ['is of a kind nobody knows', 'schema', stamped({ ...numberedEntry(1), kind: 'secret.told' })],
    ['lacks a field', 'schema', stamped({ kind: 'grant.failed', actor: { type: 'unproved' } })],
    ['has no time', 'schema', stamped(numberedEntry(1), 'yesterday')],
  ])('fails when an entry %s, and names it', async (_, rule, payload) => {
    const report = await problemsOf([stamped(numberedEntry(0)), payload, stamped(numberedEntry(2))])
    expect(report.problems[0]).toMatchObject({ rule, index: 1, path: 'tile/entries/000.p/3' })
    expect(report).toMatchObject({ ok: false, entries: 3 })
  })

  const ending: EntryBody = {
    kind: 'grant.ending',
    actor: { type: 'broker', reason: 'revoke' },
    grant: grantOf(1),
    cause: 'kill_switch',
  }
  const failed: EntryBody = {
    kind: 'grant.failed',
    actor: { type: 'broker', reason: 'issue' },
    grant: grantOf(1),
    code: 'engine_refused',
    ambiguous: false,
    detail: '',
  }
  const orphan: EntryBody = {
    kind: 'grant.ended',
    actor: { type: 'broker', reason: 'reconcile' },
    cause: 'orphan',
    outcome: 'revoked',
    lease_hash: 'd'.repeat(64),
  }
  const [loaded, intent, issued, renewed, ended] = story as [EntryBody, EntryBody, EntryBody, EntryBody, EntryBody]

  it.each<[string, readonly EntryBody[]]>([
    ['a whole life', story],
    ['a failed mint', [loaded, intent, failed]],
    ['an end that came while Vault still minted', [loaded, intent, ending, issued, ended]],
    ['an end announced twice', [loaded, intent, issued, ending, ending, ended]],
    ['the end of an orphan', [orphan]],
    ['grants still live', [loaded, intent, issued, intentEntry(2)]],
  ])('passes %s', async (_, bodies) => {
    expect(verdict(await problemsOf(bodies.map((body) => stamped(body))))).toEqual({ ok: true, problems: [] })
  })

  it.each<[string, readonly EntryBody[], number]>([
    ['an issuance without its intent', [loaded, issued], 1],
    ['an issuance twice', [loaded, intent, issued, issued], 3],
    ['an intent twice', [loaded, intent, intent], 2],
    ['a renewal before the issuance', [loaded, intent, renewed], 2],
    ['a renewal after the end', [loaded, intent, issued, ended, renewed], 4],
    ['a renewal after the end began', [loaded, intent, issued, ending, renewed], 4],
    ['an issuance after the mint failed', [loaded, intent, failed, issued], 3],
    ['a failure after the issuance', [loaded, intent, issued, failed], 3],
    ['an end without an issuance', [loaded, intent, ended], 2],
    ['an end twice', [loaded, intent, issued, ended, ended], 4],
    ['an end of nothing', [{ ...orphan, cause: 'revoked' } as EntryBody], 0],
    ['a policy set that was never loaded', [intent], 0],
    ['a policy set loaded only afterwards', [intent, loaded], 0],
    ['a policy set loaded without a digest', [{ ...loaded, policy: undefined } as EntryBody], 0],
  ])('fails %s, and names the entry', async (_, bodies, index) => {
    const report = await problemsOf(bodies.map((body) => stamped(body)))
    expect(verdict(report)).toEqual({ ok: false, problems: [['meaning', index]] })
  })

  it('fails when time goes back, and names the entry', async () => {
    const times = ['2026-11-22T12:00:00.001Z', '2026-11-22T12:00:00.001Z', '2026-11-22T12:00:00.000Z']
    const report = await problemsOf(times.map((time) => stamped(numberedEntry(1), time)))
    expect(verdict(report)).toEqual({ ok: false, problems: [['meaning', 2]] })
  })

  it('counts every problem and lists the first hundred', async () => {
    const report = await problemsOf([stamped(numberedEntry(1)), ...Array.from({ length: 150 }, () => '{}')])
    expect(report).toMatchObject({ ok: false, problemCount: 150 })
    expect(report.problems).toHaveLength(100)
  })
})
