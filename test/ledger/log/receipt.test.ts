import { beforeAll, describe, expect, it } from 'vitest'
import { canonicalJson } from '../../../src/ledger/canonical.ts'
import { formatCheckpoint } from '../../../src/ledger/log/checkpoint.ts'
import { parseVkey, signingKeyOf, signNote } from '../../../src/ledger/log/note.ts'
import {
  createReceipt,
  formatReceipt,
  parseReceipt,
  ReceiptError,
  verifyReceipt,
} from '../../../src/ledger/log/receipt.ts'
import { tilePath } from '../../../src/ledger/log/tile.ts'
import { numberedEntry } from '../../support/entries.ts'
import { collect, openTestLedger, origin, testKey, withFolder } from '../../support/ledger.ts'
import { decimalLog, tileLog } from '../../support/tile-log.ts'
import published from '../../vectors/tlog-proof.json' with { type: 'json' }

const keys = [parseVkey(testKey.vkey)]
const entryOf = (index: number): Buffer => Buffer.from(String(index))

describe('the form of a receipt (C2SP tlog-proof)', () => {
  it.each(published.forms)(
    'is that of an independent implementation: $name',
    ({ text, index, hashes, extra, checkpoint }) => {
      const receipt = {
        index,
        proof: hashes.map((hash) => Buffer.from(hash, 'hex')),
        checkpoint,
        ...(extra !== undefined && { extra: Buffer.from(extra) }),
      }
      expect(formatReceipt(receipt)).toBe(text)
      expect(parseReceipt(text)).toEqual(receipt)
    },
  )

  it.each(published.refused)('is refused as an independent implementation refuses it: $name', ({ text }) => {
    expect(() => parseReceipt(text)).toThrow(ReceiptError)
  })

  const hash = Buffer.alloc(32, 7).toString('base64')
  const good = `c2sp.org/tlog-proof@v1\nindex 5\n${hash}\n\ncheckpoint\n`

  it.each([
    ['nothing', ''],
    ['another version', good.replace('@v1', '@v2')],
    ['a leading zero in the index', good.replace('index 5', 'index 05')],
    ['a sign in the index', good.replace('index 5', 'index +5')],
    ['two spaces before the index', good.replace('index 5', 'index  5')],
    ['an index no number can hold', good.replace('index 5', 'index 9007199254740993')],
    ['an index beyond 64 bits', good.replace('index 5', 'index 18446744073709551616')],
    ['two indexes', good.replace('index 5', 'index 5\nindex 5')],
    ['extra data twice', good.replace('index 5', 'extra AA==\nextra AA==\nindex 5')],
    ['extra data after the index', good.replace('index 5', 'index 5\nextra AA==')],
    ['extra data with loose bits', good.replace('index 5', 'extra AB==\nindex 5')],
    ['no empty line', good.replace('\n\n', '\n')],
    ['carriage returns', good.replaceAll('\n', '\r\n')],
    ['a space after a hash', good.replace(hash, `${hash} `)],
    ['a hash in base64url', good.replace(hash, `${Buffer.alloc(32, 0xff).toString('base64url')}=`)],
    ['a short hash', good.replace(hash, Buffer.alloc(31).toString('base64'))],
    ['more hashes than a tree is high', good.replace(hash, new Array(54).fill(hash).join('\n'))],
    ['more than a megabyte', `${good}${'x'.repeat(1024 * 1024)}`],
  ])('is refused with %s', (_, text) => {
    expect(() => parseReceipt(text)).toThrow(ReceiptError)
  })
})

describe('a receipt', () => {
  it.each([1, 2, 255, 256, 257, 700, 65_537])('made for an entry of %d verifies with the key alone', async (size) => {
    const log = decimalLog(size)
    for (const index of new Set([0, 1, Math.floor(size / 2), 255, 256, size - 1].filter((at) => at < size))) {
      const receipt = await createReceipt(log, index)
      expect(verifyReceipt({ receipt, entry: entryOf(index), keys })).toEqual({
        index,
        checkpoint: { origin, size, root: log.root },
      })
      expect(formatReceipt(parseReceipt(receipt))).toBe(receipt)
    }
  })

  it('holds for the size of its checkpoint while the log goes on growing', async () => {
    const [small, large] = [decimalLog(300), decimalLog(700)]
    // A tile is asked for in the width of the checkpoint that was taken, however wide it is by now.
    const growing = { ...large, checkpoint: small.checkpoint, signedSize: small.signedSize }
    const asked: string[] = []
    const receipt = await createReceipt(
      {
        ...growing,
        async tile(id) {
          asked.push(tilePath(id))
          const whole = large.files.get(tilePath({ ...id, width: id.n === 1 ? 256 : id.width }))
          return (whole ?? small.files.get(tilePath(id)))?.subarray(0, id.width * 32)
        },
      },
      299,
    )
    expect(verifyReceipt({ receipt, entry: entryOf(299), keys }).checkpoint.size).toBe(300)
    expect(asked.sort()).toEqual(['tile/0/001.p/44', 'tile/1/000.p/1'])
  })

  it.each([300, 301, -1, 1.5, Number.NaN, 2 ** 53])('is not made for entry %d of 300', async (index) => {
    await expect(createReceipt(decimalLog(300), index)).rejects.toThrow(RangeError)
  })

  it.each([
    ['is missing', undefined, 'is missing'],
    ['is short', Buffer.alloc(31), 'has 31 bytes'],
    ['was altered', Buffer.alloc(32), 'does not lead to the root'],
  ])('is not made from a log of which a tile %s', async (_, bytes, message) => {
    const log = decimalLog(257)
    const broken = {
      ...log,
      tile: async (id: Parameters<typeof log.tile>[0]) => (id.level === 1 ? bytes : log.tile(id)),
    }
    await expect(createReceipt(broken, 256)).rejects.toMatchObject({
      code: 'ledger_unavailable',
      message: expect.stringContaining(message),
    })
  })
})

describe('verifying a receipt', () => {
  const index = 100
  const entry = entryOf(index)
  const log = decimalLog(257)
  let receipt = ''
  beforeAll(async () => {
    receipt = await createReceipt(log, index)
  })
  const refused = (text: string, bytes: Uint8Array = entry, with_ = keys) =>
    expect(() => verifyReceipt({ receipt: text, entry: bytes, keys: with_ }))

  it('says that the entry is another one, or at another place', () => {
    refused(receipt, entryOf(101)).toThrow('it is not a proof of this entry')
    refused(receipt, Buffer.of()).toThrow('it is not a proof of this entry')
    refused(receipt.replace('index 100', 'index 101')).toThrow('it is not a proof of this entry')
    refused(receipt.replace('index 100', 'index 257')).toThrow('entry 257 is not in a tree of 257')
  })

  it('says that the key is another one', () => {
    const other = signingKeyOf(origin, Buffer.alloc(32, 9))
    refused(receipt, entry, [parseVkey(other.vkey)]).toThrow('not signed by the expected key')
    refused(receipt, entry, []).toThrow('not signed by the expected key')
    const { checkpoint } = parseReceipt(receipt)
    const resigned = signNote(checkpoint.slice(0, checkpoint.indexOf('\n\n') + 1), [other])
    refused(receipt.replace(checkpoint, resigned)).toThrow('not signed by the expected key')
  })

  it('takes any of several keys of the log, and lines of keys it does not know', () => {
    const later = signingKeyOf(origin, Buffer.alloc(32, 9))
    const { checkpoint } = parseReceipt(receipt)
    const both = signNote(checkpoint.slice(0, checkpoint.indexOf('\n\n') + 1), [later, testKey])
    const text = receipt.replace(checkpoint, both)
    for (const trusted of [[testKey], [later], [later, testKey]]) {
      expect(verifyReceipt({ receipt: text, entry, keys: trusted.map(({ vkey }) => parseVkey(vkey)) }).index).toBe(
        index,
      )
    }
  })

  it('refuses a checkpoint that a trusted key signed for a log of another name', () => {
    const witness = signingKeyOf('witness.test/w', Buffer.alloc(32, 9))
    const { checkpoint } = parseReceipt(receipt)
    const signed = signNote(formatCheckpoint({ origin, size: 257, root: log.root }), [witness])
    refused(receipt.replace(checkpoint, signed), entry, [...keys, parseVkey(witness.vkey)]).toThrow(
      `of the log ${origin}, and witness.test/w signed it`,
    )
  })

  it('refuses a proof of a larger size than the signed one', async () => {
    const { checkpoint } = parseReceipt(receipt)
    const larger = parseReceipt(await createReceipt(decimalLog(600), index))
    refused(formatReceipt({ ...larger, checkpoint })).toThrow('it is not a proof of this entry')
  })

  it('does not accept a receipt or an entry with any one bit flipped', () => {
    const bytes = Buffer.from(receipt)
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes)
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      refused(changed.toString(), entry).toThrow(ReceiptError)
    }
    for (let bit = 0; bit < entry.length * 8; bit++) {
      const changed = Buffer.from(entry)
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      refused(receipt, changed).toThrow(ReceiptError)
    }
  })

  it('does not take extra data for more than extra data', () => {
    const [first, ...rest] = receipt.split('\n')
    const text = [first, 'extra AA==', ...rest].join('\n')
    expect(verifyReceipt({ receipt: text, entry, keys }).index).toBe(index)
  })

  it('works for the smallest log', async () => {
    const one = tileLog(['only'])
    const text = await createReceipt(one, 0)
    expect(text.startsWith('c2sp.org/tlog-proof@v1\nindex 0\n\nwrit.test/ledger\n1\n')).toBe(true)
    expect(verifyReceipt({ receipt: text, entry: Buffer.from('only'), keys }).index).toBe(0)
  })
})

describe('a receipt of the ledger in files', () => {
  it('is made for every entry that its newest checkpoint covers, whenever that was signed, and holds', () =>
    withFolder(async (dir) => {
      for (let life = 0; life < 3; life++) {
        const ledger = await openTestLedger(dir, { segmentBytes: 10_000 })
        await Promise.all(Array.from({ length: 130 }, (_, n) => ledger.append(numberedEntry(n))))
        const stored = await collect(ledger.read(0))
        for (const { index, entry } of stored.slice(0, ledger.signedSize())) {
          const receipt = await createReceipt(ledger, index)
          const proven = verifyReceipt({ receipt, entry: Buffer.from(canonicalJson(entry)), keys })
          expect(proven).toMatchObject({ index, checkpoint: { origin, size: life * 130 } })
        }
        await expect(createReceipt(ledger, ledger.signedSize())).rejects.toThrow(RangeError)
        await ledger.close()
      }
    }))

  it('made before, while and after the log passed to another key is verified by the key that was in force', () =>
    withFolder(async (dir) => {
      const newKey = signingKeyOf(origin, Buffer.alloc(32, 9))
      const lives = [
        { options: {}, by: [testKey] },
        { options: { key: newKey, previousKey: testKey }, by: [testKey, newKey] },
        { options: { key: newKey }, by: [newKey] },
      ]
      for (const { options, by } of lives) {
        const ledger = await openTestLedger(dir, options)
        await ledger.append(numberedEntry(1))
        await ledger.close()
        const again = await openTestLedger(dir, options)
        const receipt = await createReceipt(again, 0)
        const entry = Buffer.from(canonicalJson((await again.get(0))?.entry))
        await again.close()
        for (const key of [testKey, newKey]) {
          const verify = () => verifyReceipt({ receipt, entry, keys: [parseVkey(key.vkey)] })
          if (by.includes(key)) expect(verify().index).toBe(0)
          else expect(verify).toThrow('not signed by the expected key')
        }
      }
    }))
})
