import { readFile, stat, truncate, writeFile } from 'node:fs/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalJson } from '../../src/ledger/canonical.ts'
import type { StoredEntry } from '../../src/ledger/ledger.ts'
import { NoteError, openNote, parseVkey } from '../../src/ledger/log/note.ts'
import { segmentHeader, segmentHeaderBytes } from '../../src/ledger/store/segments.ts'
import { verifyLedger } from '../../src/ledger/verify/check.ts'
import { numberedEntry } from '../support/entries.ts'
import { faultyDisk } from '../support/faulty-disk.ts'
import { collect, openTestLedger, segmentFile, testKey, withFolder } from '../support/ledger.ts'
import { naiveRoot } from '../support/naive-tree.ts'
import { writeRawLedger } from '../support/raw-ledger.ts'

const { vkey } = testKey

/** One life of a ledger: batches of entries, then a proper end, or a crash that takes up to `cut` bytes of the unsigned tail and leaves zeros. */
const life = fc.record({
  batches: fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 5 }),
  end: fc.option(fc.record({ cut: fc.nat(1500), zeros: fc.nat(3000) }), { nil: 'close' as const }),
})

/** Lives one life and gives what a later one must find. */
async function live(dir: string, { batches, end }: typeof life extends fc.Arbitrary<infer L> ? L : never) {
  let broken = false
  const ledger = await openTestLedger(dir, { fs: faultyDisk(() => (broken ? 'fail' : 'do')) })
  const signedBytes = (await stat(segmentFile(dir))).size
  for (const count of batches) {
    await Promise.all(Array.from({ length: count }, (_, n) => ledger.append(numberedEntry(n))))
  }
  const entries = await collect(ledger.read(0))
  const { root } = ledger.head()
  expect(root).toBe(naiveRoot(entries.map(({ entry }) => Buffer.from(canonicalJson(entry)))).toString('hex'))
  broken = end !== 'close'
  await ledger.close()
  if (end === 'close') return entries
  // What was there before this life is covered by a checkpoint only if the life before was closed; keep all of it.
  const { size } = await stat(segmentFile(dir))
  const length = Math.max(signedBytes, size - end.cut)
  await truncate(segmentFile(dir), length)
  const whole = await wholeEntries(dir)
  await truncate(segmentFile(dir), length + end.zeros)
  return entries.slice(0, whole)
}

async function wholeEntries(dir: string): Promise<number> {
  const bytes = await readFile(segmentFile(dir))
  let count = 0
  for (let at = segmentHeaderBytes; at + 16 <= bytes.length; count++) {
    at += 16 + bytes.readUInt32BE(at + 4)
    if (at > bytes.length) break
  }
  return count
}

describe('a ledger over any sequence of lives', () => {
  it('holds exactly what was whole, in order, with the naive root, and verifies', { timeout: 120_000 }, () =>
    fc.assert(
      fc.asyncProperty(fc.array(life, { minLength: 1, maxLength: 5 }), (lives) =>
        withFolder(async (dir) => {
          let known: readonly StoredEntry[] = []
          for (const each of lives) {
            const after = await live(dir, each)
            expect(after.slice(0, known.length)).toEqual(known)
            known = after
          }
          const ledger = await openTestLedger(dir)
          const entries = await collect(ledger.read(0))
          await ledger.close()
          expect(entries.slice(0, known.length)).toEqual(known)
          expect(entries.slice(known.length).every(({ entry }) => entry.kind === 'config.ledger_repaired')).toBe(true)
          expect(await verifyLedger({ dir, vkey })).toMatchObject({ ok: true, entries: entries.length })
        }),
      ),
      { numRuns: 40 },
    ),
  )
})

describe('the verifier, given anything', () => {
  it('never fails to answer, and never accepts bytes that were not signed for', { timeout: 120_000 }, () =>
    fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, withHeader) =>
        withFolder(async (dir) => {
          await writeRawLedger(dir, ['{"a":1}'])
          await writeFile(segmentFile(dir), Buffer.concat([withHeader ? segmentHeader(0) : Buffer.of(), bytes]))
          expect((await verifyLedger({ dir, vkey })).ok).toBe(false)
        }),
      ),
      { numRuns: 200 },
    ),
  )

  it('never accepts a record whose payload is arbitrary, even with a right checksum and a good signature', () =>
    fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.json().map(Buffer.from)),
        (payload) =>
          withFolder(async (dir) => {
            await writeRawLedger(dir, [payload])
            expect((await verifyLedger({ dir, vkey })).ok).toBe(false)
          }),
      ),
      { numRuns: 200 },
    ))

  it('reads any text as a note or refuses it, and takes none as signed', () => {
    const key = parseVkey(vkey)
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), (text, line) => {
        for (const note of [text, `${text}\n\n— ${key.name} ${line}\n`]) {
          expect(() => openNote(note, [key])).toThrow(NoteError)
        }
      }),
    )
  })
})
