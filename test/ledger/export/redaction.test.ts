import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Manifest, openManifest, readManifest, signManifest } from '../../../src/ledger/export/redaction.ts'
import { openCheckpoint, parseCheckpoint, signCheckpoint } from '../../../src/ledger/log/checkpoint.ts'
import { NoteError, openNote, parseVkey, signingKeyOf, signNote } from '../../../src/ledger/log/note.ts'
import { origin, testKey } from '../../support/ledger.ts'

const vkey = parseVkey(testKey.vkey)
const manifest: Manifest = {
  origin,
  size: 42,
  sourceRoot: Buffer.alloc(32, 1),
  root: Buffer.alloc(32, 2),
  transform: 1,
  namesKeyId: 'ab'.repeat(32),
}
const note = signManifest(manifest, testKey)
const text = note.slice(0, note.indexOf('\n\n') + 1)

describe('a manifest', () => {
  it('is a note of seven lines by the key of the ledger, and reads back', () => {
    expect(openNote(note, [vkey]).text).toBe(text)
    expect(text.split('\n').slice(0, 3)).toEqual(['writ.dev/ledger-redaction@v1', origin, '42'])
    expect(openManifest(note, [vkey])).toEqual(manifest)
    expect(readManifest(note)).toEqual(manifest)
  })

  it('is no checkpoint, and no checkpoint is a manifest', () => {
    expect(() => openCheckpoint(note, vkey)).toThrow(NoteError)
    expect(() => openManifest(signCheckpoint(manifest, testKey), [vkey])).toThrow(NoteError)
  })

  it('is no checkpoint whatever the log is called, even a number or what manifests begin with', () => {
    for (const name of ['7', 'writ.dev/ledger-redaction@v1']) {
      expect(() => parseCheckpoint(text.replace(origin, name))).toThrow(NoteError)
    }
    const confused = signingKeyOf('writ.dev/ledger-redaction@v1', Buffer.alloc(32, 7))
    expect(() => signManifest({ ...manifest, origin: confused.name }, confused)).toThrow(NoteError)
    const checkpoint = signCheckpoint({ ...manifest, origin: confused.name }, confused)
    expect(() => readManifest(checkpoint)).toThrow(NoteError)
  })

  it('is refused when it is signed by another key, or by one of another name', () => {
    const other = signingKeyOf(origin, Buffer.alloc(32, 9))
    expect(() => openManifest(signManifest(manifest, other), [vkey])).toThrow(NoteError)
    const elsewhere = signingKeyOf('writ.test/other', Buffer.alloc(32, 7))
    expect(() => signManifest(manifest, elsewhere)).toThrow(NoteError)
    expect(() => openManifest(signNote(text, [elsewhere]), [parseVkey(elsewhere.vkey)])).toThrow(NoteError)
  })

  it('is refused with any line missing, repeated, out of place or written another way', () => {
    const lines = text.split('\n').slice(0, -1)
    const wrong = [
      ...lines.map((_, i) => lines.toSpliced(i, 1)),
      ...lines.map((line, i) => lines.toSpliced(i, 0, line)),
      // Two roots that change places are another manifest, not a malformed one.
      ...[0, 1, 2, 4, 5].map((i) => lines.with(i, lines[i + 1] ?? '').with(i + 1, lines[i] ?? '')),
      lines.with(2, '042'),
      lines.with(2, '-1'),
      lines.with(2, '1e3'),
      lines.with(2, '9007199254740993'),
      lines.with(3, 'AAAA'),
      lines.with(5, '0'),
      lines.with(6, 'AB'.repeat(32)),
      [...lines, 'more'],
    ]
    for (const each of wrong) {
      const signed = signNote(`${each.join('\n')}\n`, [testKey])
      expect(() => openManifest(signed, [vkey]), each.join('|')).toThrow(NoteError)
    }
  })

  it('reads back whatever it says', () => {
    const any = fc.record({
      size: fc.nat(),
      sourceRoot: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      root: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      transform: fc.integer({ min: 1, max: 1000 }),
    })
    fc.assert(
      fc.property(any, (parts) => {
        const one = { ...manifest, ...parts }
        const { root, sourceRoot, ...rest } = openManifest(signManifest(one, testKey), [vkey])
        expect({ ...rest, root: [...root], sourceRoot: [...sourceRoot] }).toEqual({
          ...one,
          root: [...one.root],
          sourceRoot: [...one.sourceRoot],
        })
      }),
      { numRuns: 50 },
    )
  })
})
