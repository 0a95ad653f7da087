import { describe, expect, it } from 'vitest'
import { generateLedgerKey } from '../../../src/ledger/keys.ts'
import { NoteError, openNote, parseSkey, parseVkey, signNote } from '../../../src/ledger/log/note.ts'
import vectors from '../../vectors/signed-note.json' with { type: 'json' }

const { spec, go } = vectors
const peter = parseVkey(go.peter.vkey)
const enoch = parseVkey(go.enoch.vkey)
const opening = (note: string | Uint8Array) => () => openNote(note, [peter])

describe('signed note (C2SP)', () => {
  it('verifies the example of the specification', () => {
    const opened = openNote(spec.note, [parseVkey(spec.vkey)])
    expect(opened).toEqual({ text: 'This is an example message.\n', verifiedBy: ['example.com/foo'], ignored: 0 })
  })

  it('signs byte for byte as Go does', () => {
    const key = parseSkey(go.peter.skey)
    expect(key.vkey).toBe(go.peter.vkey)
    expect(signNote(go.text, [key])).toBe(`${go.text}\n${go.peter.line}`)
  })

  it('ignores signatures of unknown keys and names every known one', () => {
    const note = `${go.text}\n${go.peter.line}${go.enoch.line}`
    expect(openNote(note, [peter])).toMatchObject({ verifiedBy: ['PeterNeumann'], ignored: 1 })
    expect(openNote(note, [enoch, peter])).toMatchObject({ verifiedBy: ['PeterNeumann', 'EnochRoot'], ignored: 0 })
  })

  it('takes at least 16 signatures', () => {
    const note = `${go.text}\n${go.enoch.line.repeat(20)}${go.peter.line}`
    expect(openNote(note, [peter])).toMatchObject({ verifiedBy: ['PeterNeumann'], ignored: 20 })
  })

  it('ignores a key that shares the name or the id with a known one, but not both', () => {
    const otherId = go.peter.line.replace('x08g', 'x08h')
    const otherName = go.peter.line.replace('PeterNeumann', 'CarmenSandiego')
    expect(opening(`${go.text}\n${otherId}`)).toThrow('not signed by the expected key')
    expect(opening(`${go.text}\n${otherName}`)).toThrow('not signed by the expected key')
  })

  it('rejects the whole note when a known key signed something else, even beside a good signature', () => {
    const bad = go.peter.line.replace('ZJku', 'ZJkv')
    expect(opening(`${go.text}\n${bad}`)).toThrow('does not verify')
    expect(opening(`${go.text}\n${go.peter.line}${bad}`)).toThrow('does not verify')
    expect(opening(`${go.text}!\n\n${go.peter.line}`)).toThrow('does not verify')
  })

  it.each([
    ['no signature', go.text],
    ['an empty signature block', `${go.text}\n`],
    ['no final newline', `${go.text}\n${go.peter.line.slice(0, -1)}`],
    ['a control character', `\x01${go.text}\n${go.peter.line}`],
    ['a tab', `\t${go.text}\n${go.peter.line}`],
    ['a carriage return', `${go.text}\r\n\n${go.peter.line}`],
    ['a line that is no signature', `${go.text}\n${go.peter.line}Unexpected line.\n`],
    ['a name with a space', `${go.text}\n${go.peter.line.replace('PeterNeumann', 'Peter Neumann')}`],
    ['a name with a Unicode space', `${go.text}\n${go.peter.line.replace('PeterNeumann', 'Peter\u2003Neumann')}`],
    ['a name with a plus', `${go.text}\n${go.peter.line.replace('PeterNeumann', 'Peter+Neumann')}`],
    ['base64 with loose bits', `${go.text}\n${go.peter.line.replace('nAM=', 'nAN=')}`],
    ['101 signatures', `${go.text}\n${go.peter.line.repeat(101)}`],
    ['a lone surrogate', `\ud800${go.text}\n${go.peter.line}`],
  ])('rejects a note with %s', (_, note) => {
    expect(opening(note)).toThrow(NoteError)
  })

  it('rejects bytes that are not UTF-8', () => {
    expect(opening(Buffer.concat([Buffer.of(0xff), Buffer.from(`${go.text}\n${go.peter.line}`)]))).toThrow('UTF-8')
  })

  it('does not accept a note with any one byte changed', () => {
    const note = Buffer.from(`${go.text}\n${go.peter.line}`)
    for (let at = 0; at < note.length; at++) {
      const changed = Buffer.from(note)
      changed[at] = (changed[at] ?? 0) ^ 1
      expect(opening(changed), `byte ${at}`).toThrow(NoteError)
    }
  })

  it('does not accept a verifier or signing key with any part missing or any byte changed', () => {
    for (const [text, parse] of [
      [go.peter.vkey, parseVkey],
      [go.peter.skey, parseSkey],
    ] as const) {
      for (let from = 0; from < text.length; from++) {
        for (let to = from + 1; to <= text.length; to++) {
          if (to - from < text.length) expect(() => parse(text.slice(from, to))).toThrow(NoteError)
        }
        const changed = text.slice(0, from) + String.fromCharCode(text.charCodeAt(from) + 1) + text.slice(from + 1)
        expect(() => parse(changed)).toThrow(NoteError)
      }
    }
  })

  it.each(go.badVkeys)('refuses a verifier key with $why', ({ vkey }) => {
    expect(() => parseVkey(vkey)).toThrow(NoteError)
  })

  it('makes keys that sign what their verifier key verifies', () => {
    const { skeyText, vkey } = generateLedgerKey('writ.test/ledger')
    const note = signNote('hello\n', [parseSkey(skeyText)])
    expect(openNote(note, [parseVkey(vkey)]).text).toBe('hello\n')
    expect(generateLedgerKey('writ.test/ledger').vkey).not.toBe(vkey)
  })

  it.each(['', 'a b', 'a+b', 'a\nb', 'a\u00a0b'])('makes no key named %j', (name) => {
    expect(() => generateLedgerKey(name)).toThrow(NoteError)
  })

  it('never quotes a signing key in an error', () => {
    for (const text of [go.peter.skey.slice(0, -4), go.peter.skey.replace('c74f20a3', 'c74f20a4')]) {
      expect(() => parseSkey(text)).toThrow(expect.not.objectContaining({ message: expect.stringContaining('AYEKFA') }))
    }
  })
})
