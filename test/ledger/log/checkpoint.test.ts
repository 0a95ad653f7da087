import { describe, expect, it } from 'vitest'
import {
  formatCheckpoint,
  openCheckpoint,
  parseCheckpoint,
  signCheckpoint,
} from '../../../src/ledger/log/checkpoint.ts'
import { createTree, leafHash } from '../../../src/ledger/log/merkle.ts'
import { NoteError, parseSkey, parseVkey, signNote } from '../../../src/ledger/log/note.ts'
import golden from '../../vectors/tessera-golden-log.json' with { type: 'json' }

const root = Buffer.alloc(32, 1)
const rootText = root.toString('base64')

describe('checkpoint (C2SP tlog-checkpoint)', () => {
  it('agrees with every checkpoint of a log made by an independent implementation, and signs the same bytes', () => {
    const key = parseVkey(golden.vkey)
    const tree = createTree()
    for (const [size, note] of golden.checkpoints.entries()) {
      const checkpoint = openCheckpoint(note, key)
      expect(checkpoint).toEqual({ origin: key.name, size, root: Buffer.from(tree.root()) })
      expect(signCheckpoint({ origin: key.name, size, root: tree.root() }, parseSkey(golden.skey))).toBe(note)
      tree.append(leafHash(Buffer.from(golden.leaves[size] ?? '')))
    }
  })

  it.each([0, 1, 255, 20_852_163, Number.MAX_SAFE_INTEGER])('reads back what it writes, at size %d', (size) => {
    const checkpoint = { origin: 'writ.test/ledger', size, root }
    expect(parseCheckpoint(formatCheckpoint(checkpoint))).toEqual(checkpoint)
  })

  it('takes extension lines, and does not interpret them', () => {
    expect(parseCheckpoint(`o\n1\n${rootText}\nextra\n`)).toEqual({ origin: 'o', size: 1, root })
  })

  it.each([
    ['a leading zero', `o\n01\n${rootText}\n`],
    ['a sign', `o\n+1\n${rootText}\n`],
    ['a size no number can hold', `o\n9007199254740993\n${rootText}\n`],
    ['no size', `o\n\n${rootText}\n`],
    ['no origin', `\n1\n${rootText}\n`],
    ['a short root', `o\n1\n${root.subarray(1).toString('base64')}\n`],
    ['a root in base64url', `o\n1\n${Buffer.alloc(32, 0xff).toString('base64url')}=\n`],
    ['two lines', 'o\n1\n'],
    ['no final newline', `o\n1\n${rootText}`],
    ['an empty extension line', `o\n1\n${rootText}\n\n`],
  ])('refuses %s', (_, text) => {
    expect(() => parseCheckpoint(text)).toThrow(NoteError)
  })

  it('refuses the checkpoint of another log, though its signature is good', () => {
    const key = parseSkey(golden.skey)
    const note = signNote(formatCheckpoint({ origin: 'example.com/other', size: 1, root }), [key])
    expect(() => openCheckpoint(note, parseVkey(golden.vkey))).toThrow('another log')
    expect(() => signCheckpoint({ origin: 'example.com/other', size: 1, root }, key)).toThrow('not named after')
  })
})
