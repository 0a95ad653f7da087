import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { formatCheckpoint, openCheckpoint, parseCheckpoint } from '../../src/ledger/log/checkpoint.ts'
import { NoteError, openNote, parseSkey, parseVkey } from '../../src/ledger/log/note.ts'
import {
  createReceipt,
  formatReceipt,
  parseReceipt,
  ReceiptError,
  verifyReceipt,
} from '../../src/ledger/log/receipt.ts'
import { BundleError, parseBundle, parseTilePath, tilePath } from '../../src/ledger/log/tile.ts'
import { testKey } from '../support/ledger.ts'
import { decimalLog } from '../support/tile-log.ts'
import logs from '../vectors/logs/sources.json' with { type: 'json' }
import signedNotes from '../vectors/signed-note.json' with { type: 'json' }

const key = parseVkey(testKey.vkey)
const log = decimalLog(700)
const entry = Buffer.from('300')
const runs = { numRuns: 3000 }

/** One careless or malicious edit of some bytes. */
const edit = fc.record({
  kind: fc.constantFrom('flip', 'cut', 'insert', 'repeat', 'truncate', 'swap'),
  at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
  length: fc.integer({ min: 1, max: 60 }),
  bit: fc.nat(7),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 20 }),
    fc
      .constantFrom('\n', '\n\n', '0', '-', '+', '=', ' ', '— ', 'index 1\n', 'extra AA==\n', '\u0000', '\r\n')
      .map((text) => Buffer.from(text)),
  ),
})

function edited(sound: Uint8Array, edits: readonly (typeof edit extends fc.Arbitrary<infer E> ? E : never)[]): Buffer {
  let bytes = Buffer.from(sound)
  for (const { kind, at, length, bit, bytes: piece } of edits) {
    const from = Math.floor(at * bytes.length)
    const [before, taken, after] = [
      bytes.subarray(0, from),
      bytes.subarray(from, from + length),
      bytes.subarray(from + length),
    ]
    if (kind === 'cut') bytes = Buffer.concat([before, after])
    else if (kind === 'insert') bytes = Buffer.concat([before, piece, taken, after])
    else if (kind === 'repeat') bytes = Buffer.concat([before, taken, taken, after])
    else if (kind === 'truncate') bytes = Buffer.from(before)
    else if (kind === 'swap') bytes = Buffer.concat([taken, before, after])
    else if (bytes.length > 0) bytes[from] = (bytes[from] ?? 0) ^ (1 << bit)
  }
  return bytes
}

/** Bytes that are nothing, or were something sound before a few edits. */
const spoilt = (...sound: readonly (string | Uint8Array)[]): fc.Arbitrary<Buffer> =>
  fc.oneof(
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)) },
    {
      weight: 6,
      arbitrary: fc
        .tuple(fc.constantFrom(...sound), fc.array(edit, { minLength: 1, maxLength: 4 }))
        .map(([text, edits]) => edited(Buffer.from(text), edits)),
    },
  )

/** What a parser makes of it; `undefined` when it refuses, in the only way it may. */
function attempt<T>(parse: () => T, refusal: new (message: string) => Error): T | undefined {
  try {
    return parse()
  } catch (error) {
    expect(error).toBeInstanceOf(refusal)
    return undefined
  }
}

describe('a receipt that was tampered with', () => {
  let sound = ''
  beforeAll(async () => {
    sound = await createReceipt(log, 300)
  })

  it('is refused, or says what the sound one says; it is read as it would be written, and proves no other entry', () => {
    fc.assert(
      fc.property(
        spoilt(sound, 'c2sp.org/tlog-proof@v1\nextra AA==\nindex 0\n\nx\n'),
        fc.uint8Array({ maxLength: 8 }),
        (bytes, other) => {
          const text = bytes.toString()
          const parsed = attempt(() => parseReceipt(text), ReceiptError)
          if (parsed !== undefined) expect(formatReceipt(parsed)).toBe(text)
          const proven = attempt(() => verifyReceipt({ receipt: text, entry, keys: [key] }), ReceiptError)
          if (proven !== undefined) {
            expect(proven).toMatchObject({ index: 300, checkpoint: { size: log.size, root: log.root } })
          }
          fc.pre(!entry.equals(other))
          for (const receipt of [text, sound]) {
            expect(attempt(() => verifyReceipt({ receipt, entry: other, keys: [key] }), ReceiptError)).toBeUndefined()
          }
        },
      ),
      runs,
    )
  })
})

describe('a checkpoint that was tampered with', () => {
  const sound = log.checkpoint()

  it('is refused, or says what the signed one says', () => {
    fc.assert(
      fc.property(spoilt(sound, `${sound}${sound}`), fc.boolean(), (bytes, asText) => {
        const note = asText ? bytes.toString() : bytes
        const opened = attempt(() => openCheckpoint(note, key), NoteError)
        if (opened !== undefined) expect(opened).toMatchObject({ size: log.size, root: log.root })
      }),
      runs,
    )
  })

  it('is read as it would be written, but for extension lines', () => {
    const text = formatCheckpoint({ origin: 'writ.test/ledger', size: 700, root: log.root })
    fc.assert(
      fc.property(spoilt(text, `${text}extension\n`), (bytes) => {
        const given = bytes.toString()
        const parsed = attempt(() => parseCheckpoint(given), NoteError)
        if (parsed !== undefined) expect(given.startsWith(formatCheckpoint(parsed))).toBe(true)
      }),
      runs,
    )
  })
})

describe('a note that was tampered with', () => {
  const { text, peter, enoch } = signedNotes.go
  const keys = [parseVkey(peter.vkey), parseVkey(enoch.vkey)]

  it('is refused, or has the text that was signed', () => {
    fc.assert(
      fc.property(spoilt(`${text}\n${peter.line}`, `${text}\n${peter.line}${enoch.line}`), (bytes) => {
        const opened = attempt(() => openNote(bytes, keys), NoteError)
        if (opened !== undefined) expect(opened.text).toBe(text)
      }),
      runs,
    )
  })
})

describe('a key that was tampered with', () => {
  it('is refused, or is the same key', () => {
    const vkeys = [signedNotes.go.peter.vkey, signedNotes.spec.vkey, logs.tessera.vkey]
    fc.assert(
      fc.property(spoilt(...vkeys), (bytes) => {
        const parsed = attempt(() => parseVkey(bytes.toString()), NoteError)
        if (parsed !== undefined) expect(vkeys).toContain(parsed.vkey)
      }),
      runs,
    )
    fc.assert(
      fc.property(spoilt(signedNotes.go.peter.skey), (bytes) => {
        const parsed = attempt(() => parseSkey(bytes.toString()), NoteError)
        if (parsed !== undefined) expect(parsed.vkey).toBe(signedNotes.go.peter.vkey)
      }),
      runs,
    )
  })
})

describe('a tile path that was tampered with', () => {
  it('names no tile, or the one it would be written for', () => {
    const paths = ['tile/0/000', 'tile/entries/x001/x234/067.p/255', 'tile/63/x999/999.p/1']
    fc.assert(
      fc.property(spoilt(...paths), (bytes) => {
        const tile = parseTilePath(bytes.toString())
        if (tile !== undefined) expect(tilePath(tile)).toBe(bytes.toString())
      }),
      runs,
    )
  })
})

describe('an entry bundle that was tampered with', () => {
  it('is refused, or holds exactly the bytes it is made of', () => {
    const bundle = log.files.get('tile/entries/002.p/188') ?? Buffer.of()
    fc.assert(
      fc.property(spoilt(bundle, bundle.subarray(0, 50)), fc.integer({ min: 1, max: 256 }), (bytes, width) => {
        for (const count of [width, 188]) {
          const entries = attempt(() => parseBundle(bytes, count), BundleError)
          if (entries === undefined) continue
          expect(entries).toHaveLength(count)
          expect(entries.reduce((total, each) => total + 2 + each.length, 0)).toBe(bytes.length)
        }
      }),
      runs,
    )
  })
})
