import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../../src/ledger/log/checkpoint.ts'
import { parseVkey, signingKeyOf, splitNote } from '../../../src/ledger/log/note.ts'
import { openRotation } from '../../../src/ledger/log/rotation.ts'
import type { FileLedger, FileLedgerOptions } from '../../../src/ledger/store/file.ts'
import { numberedEntry } from '../../support/entries.ts'
import { collect, openTestLedger, origin, testKey, withFolder } from '../../support/ledger.ts'

const newKey = signingKeyOf(origin, Buffer.alloc(32, 21))
const [oldVerifier, newVerifier] = [parseVkey(testKey.vkey), parseVkey(newKey.vkey)]

/** One life in which `count` entries are appended; what the folder's checkpoint is afterwards. */
async function life(dir: string, count: number, options: Partial<FileLedgerOptions> = {}): Promise<string> {
  const ledger = await openTestLedger(dir, options)
  for (let n = 0; n < count; n++) await ledger.append(numberedEntry(n))
  await ledger.close()
  return readFile(join(dir, 'checkpoint'), 'utf8')
}

const rotations = async (ledger: FileLedger) =>
  (await collect(ledger.read(0))).flatMap(({ entry }) => (entry.kind === 'config.key_rotated' ? [entry] : []))

describe('a ledger that changes keys', () => {
  it('is handed over by the old key in an entry, once, and both sign until the old one is no longer named', () =>
    withFolder(async (dir) => {
      await life(dir, 2)
      const both = { key: newKey, previousKey: testKey }
      for (const _ of [1, 2]) {
        const note = await life(dir, 1, both)
        for (const key of [oldVerifier, newVerifier]) expect(openCheckpoint(note, key).origin).toBe(origin)
      }
      const after = await life(dir, 1, { key: newKey })
      expect(splitNote(after).signatures.map(({ id }) => id)).toEqual([newKey.id])
      const ledger = await openTestLedger(dir, { key: newKey })
      const [rotation, ...more] = await rotations(ledger)
      expect(more).toEqual([])
      const opened = openRotation(rotation?.statement ?? '', origin, [oldVerifier])
      expect(opened).toMatchObject({ proved: true, newKey: { vkey: newKey.vkey } })
      await ledger.close()
    }))

  it('does not have the new key sign before the handover is on record', () =>
    withFolder(async (dir) => {
      await life(dir, 1)
      const ledger = await openTestLedger(dir, { key: newKey, previousKey: testKey })
      expect(splitNote(ledger.checkpoint()).signatures.map(({ id }) => id)).toEqual([testKey.id])
      expect(await rotations(ledger)).toHaveLength(1)
      await ledger.close()
    }))

  it('is refused to a new key without the old one, and to a previous key of another log', () =>
    withFolder(async (dir) => {
      await life(dir, 1)
      await expect(openTestLedger(dir, { key: newKey })).rejects.toThrow('is not a checkpoint signed by')
      const stranger = signingKeyOf('other.test/ledger', Buffer.alloc(32, 1))
      await expect(openTestLedger(dir, { previousKey: stranger })).rejects.toThrow('its key is for other.test/ledger')
    }))
})

describe('a ledger with an anchor', () => {
  const withAnchor = (use: (dir: string, anchor: string, folder: string) => Promise<void>) =>
    withFolder((folder) => use(join(folder, 'ledger'), join(folder, 'elsewhere'), folder))

  it('keeps each checkpoint there too', () =>
    withAnchor(async (dir, anchor) => {
      const note = await life(dir, 3, { anchor })
      expect(await readFile(anchor, 'utf8')).toBe(note)
      await life(dir, 1, { anchor })
      expect(openCheckpoint(await readFile(anchor), oldVerifier).size).toBe(4)
    }))

  it('is refused when its folder was put back to an earlier state, and goes on when the newer one is back', () =>
    withAnchor(async (dir, anchor, folder) => {
      await life(dir, 3, { anchor })
      await cp(dir, join(folder, 'yesterday'), { recursive: true })
      await life(dir, 2, { anchor })
      await cp(dir, join(folder, 'today'), { recursive: true })
      await rm(dir, { recursive: true })
      await cp(join(folder, 'yesterday'), dir, { recursive: true })
      await expect(openTestLedger(dir, { anchor })).rejects.toMatchObject({
        code: 'ledger_unavailable',
        message: expect.stringContaining('a checkpoint over 5 entries'),
      })
      await rm(dir, { recursive: true })
      await expect(openTestLedger(dir, { anchor })).rejects.toThrow('holds 0')
      await rm(dir, { recursive: true })
      await cp(join(folder, 'today'), dir, { recursive: true })
      await life(dir, 1, { anchor })
    }))

  it('is refused when its entries are others than those of the anchor', () =>
    withAnchor(async (dir, anchor, folder) => {
      await life(dir, 3, { anchor })
      const other = join(folder, 'other')
      const ledger = await openTestLedger(other)
      for (let n = 10; n < 15; n++) await ledger.append(numberedEntry(n))
      await ledger.close()
      await expect(openTestLedger(other, { anchor })).rejects.toThrow('the first 3 in')
    }))

  it('is refused when the file elsewhere is no checkpoint of its own', () =>
    withAnchor(async (dir, anchor) => {
      await writeFile(anchor, 'rubbish')
      await expect(openTestLedger(dir, { anchor })).rejects.toThrow('is not a checkpoint signed by')
    }))
})
