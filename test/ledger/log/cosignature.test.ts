import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../../src/ledger/log/checkpoint.ts'
import {
  cosignaturesOf,
  parseWitnessSkey,
  parseWitnessVkey,
  parseWitnessVkeys,
} from '../../../src/ledger/log/cosignature.ts'
import {
  formatSignature,
  formatSkey,
  keyTypes,
  NoteError,
  openNote,
  parseSkey,
  parseVkey,
} from '../../../src/ledger/log/note.ts'
import { testKey } from '../../support/ledger.ts'
import { memoryLog } from '../../support/memory-log.ts'
import vectors from '../../vectors/witness.json' with { type: 'json' }

const { formats, cosigned } = vectors
const witnessOf = (name: string, fill: number) =>
  parseWitnessSkey(formatSkey(name, new Uint8Array(32).fill(fill), keyTypes.cosignature))
const [one, two] = [witnessOf('one.test', 1), witnessOf('two.test', 2)]
const keys = parseWitnessVkeys([one.vkey, two.vkey])
const nowMs = Date.UTC(2026, 10, 24)
const log = memoryLog()
log.append('a', 'b', 'c')
const note = log.sign(testKey)
const text = note.slice(0, note.indexOf('\n\n') + 1)

describe('a cosignature (C2SP tlog-cosignature)', () => {
  it.each(cosigned.notes)('is byte for byte what an independent implementation makes', (made) => {
    const key = parseWitnessSkey(formatSkey('witness', Buffer.from(cosigned.seed, 'base64'), keyTypes.cosignature))
    expect(key.vkey).toBe(cosigned.vkey)
    const body = made.slice(0, made.lastIndexOf('\n\n') + 1)
    expect(`${body}\n${formatSignature(key.cosign(body, cosigned.timeSeconds * 1000 + 999))}`).toBe(made)
    expect(cosignaturesOf(made, [parseWitnessVkey(cosigned.vkey)])).toEqual([
      { name: 'witness', timeMs: cosigned.timeSeconds * 1000 },
    ])
  })

  it('covers every byte of the text, of the time and of itself', () => {
    const whole = Buffer.from(`${text}\n${formatSignature(one.cosign(text, nowMs))}`)
    expect(cosignaturesOf(whole, keys)).toEqual([{ name: 'one.test', timeMs: nowMs }])
    for (let at = 0; at < whole.length; at++) {
      const changed = Buffer.from(whole)
      changed[at] = (changed[at] ?? 0) ^ 1
      const seen = (() => {
        try {
          return cosignaturesOf(changed, keys)
        } catch (error) {
          return error
        }
      })()
      // A name or id that is no longer that of a key is somebody else's line.
      if (!(seen instanceof NoteError)) expect(seen, `byte ${at}`).toEqual([])
    }
  })

  it.each([0n, 8_640_000_000_001n, 2n ** 63n])('that says second %s is none', (second) => {
    const { bytes, ...line } = one.cosign(text, nowMs)
    const other = Buffer.from(bytes)
    other.writeBigUInt64BE(second)
    expect(() => cosignaturesOf(`${text}\n${formatSignature({ ...line, bytes: other })}`, keys)).toThrow('not verify')
  })

  it('that is cut short is none', () => {
    const { bytes, ...line } = one.cosign(text, nowMs)
    const short = { ...line, bytes: bytes.subarray(0, -1) }
    expect(() => cosignaturesOf(`${text}\n${formatSignature(short)}`, keys)).toThrow('not verify')
  })

  it('counts once for each witness, however often it signed and under however many of its keys', () => {
    const later = witnessOf('one.test', 9)
    const lines = [one.cosign(text, nowMs), one.cosign(text, nowMs + 5000), later.cosign(text, nowMs)]
    const both = parseWitnessVkeys([one.vkey, later.vkey, two.vkey])
    expect(cosignaturesOf(`${note}${lines.map(formatSignature).join('')}`, both)).toHaveLength(1)
  })

  it('stands beside that of the log: each is ignored where the other is looked for', () => {
    const both = `${note}${formatSignature(one.cosign(text, nowMs))}${formatSignature(two.cosign(text, nowMs))}`
    expect(openCheckpoint(both, parseVkey(testKey.vkey)).size).toBe(3)
    expect(cosignaturesOf(both, keys).map(({ name }) => name)).toEqual(['one.test', 'two.test'])
    expect(cosignaturesOf(note, keys)).toEqual([])
  })

  it('is ignored when it is by nobody that is asked about, the kinds this version does not know among them', () => {
    const unknown = formatSignature({ name: 'pq.test', id: '01020304', bytes: Buffer.alloc(2428, 6) })
    const sixteen = Array.from({ length: 16 }, (_, at) => witnessOf(`w${at}.test`, 10 + at))
    const lines = sixteen.map((key) => formatSignature(key.cosign(text, nowMs)))
    const crowded = `${note}${unknown}${lines.join('')}`
    expect(cosignaturesOf(crowded, keys)).toEqual([])
    expect(cosignaturesOf(crowded, parseWitnessVkeys(sixteen.map(({ vkey }) => vkey)))).toHaveLength(16)
    expect(openNote(crowded, [parseVkey(testKey.vkey)]).ignored).toBe(17)
  })
})

describe('the key of a witness', () => {
  it('is of type 4 and no other', () => {
    expect(parseWitnessVkey(formats.witness).name).toBe('remora.n621.de')
    expect(() => parseWitnessVkey(formats.log)).toThrow('the Ed25519 key of a log (type 1), and the cosignature key')
    expect(() => parseVkey(formats.witness)).toThrow('the cosignature key of a witness (type 4), and the Ed25519 key')
    expect(() => parseVkey(formats.log)).not.toThrow()
  })

  it.each(formats.refused)('is not %s', (vkey) => {
    expect(() => parseWitnessVkey(vkey)).toThrow(NoteError)
    expect(() => parseVkey(vkey)).toThrow(NoteError)
  })

  it('of a kind that is not known is refused with its type', () => {
    expect(() => parseWitnessVkey(`pq.test+01020304+${Buffer.alloc(1313, 6).toString('base64')}`)).toThrow('type 6')
  })

  it('signs for no log, and that of a log for no witness, even from one seed', () => {
    const seed = new Uint8Array(32).fill(3)
    const [log, witness] = [formatSkey('x', seed), formatSkey('x', seed, keyTypes.cosignature)]
    expect(() => parseSkey(witness)).toThrow('type 4')
    expect(() => parseWitnessSkey(log)).toThrow('type 1')
    expect(parseSkey(log).id).not.toBe(parseWitnessSkey(witness).id)
  })

  it('is counted under one name only', () => {
    expect(() => parseWitnessVkeys([one.vkey, witnessOf('alias.test', 1).vkey])).toThrow('have the same key')
    expect(parseWitnessVkeys([one.vkey, one.vkey])).toHaveLength(2)
  })
})
