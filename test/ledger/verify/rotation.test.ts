import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { EntryBody } from '../../../src/ledger/entry.ts'
import { signCheckpoint } from '../../../src/ledger/log/checkpoint.ts'
import { type SigningKey, signingKeyOf, signNote } from '../../../src/ledger/log/note.ts'
import { signRotation } from '../../../src/ledger/log/rotation.ts'
import { numberedEntry, stampedEntry } from '../../support/entries.ts'
import { openTestLedger, origin, testKey, withFolder } from '../../support/ledger.ts'
import { verifyDir } from '../../support/log-folder.ts'
import { writeRawLedger } from '../../support/raw-ledger.ts'
import { tileLog } from '../../support/tile-log.ts'

const keyOf = (seed: number, name = origin): SigningKey => signingKeyOf(name, Buffer.alloc(32, seed))
const [second, third, stranger] = [keyOf(21), keyOf(22), keyOf(66)]
const rotated = (newKey: string, statement: string): EntryBody => ({
  kind: 'config.key_rotated',
  actor: { type: 'broker', reason: 'rotation' },
  new_key: newKey,
  statement,
})
const handover = (from: SigningKey, to: SigningKey): EntryBody => rotated(to.vkey, signRotation(from, to.vkey))

/** A log of those entries, signed by `key`, as whoever holds `vkey` sees it. */
const judged = (bodies: readonly EntryBody[], key: SigningKey, vkey: string | readonly string[] = testKey.vkey) =>
  withFolder(async (dir) => {
    await writeRawLedger(
      dir,
      [numberedEntry(0), ...bodies, numberedEntry(9)].map((body, n) => stampedEntry(body, n)),
      { key },
    )
    const { ok, vkeys, problems } = await verifyDir(dir, { vkey })
    return { ok, vkeys, problems: problems.map(({ rule, index }) => [rule, index]) }
  })
const distrusted = { ok: false, problems: [['checkpoint', undefined]] }

describe('a ledger that has changed keys', () => {
  it('is verified with the old key alone, the new one alone, or both, as the broker writes it', () =>
    withFolder(async (dir) => {
      for (const keys of [{}, { key: second, previousKey: testKey }, { key: second }]) {
        const ledger = await openTestLedger(dir, keys)
        await ledger.append(numberedEntry(1))
        await ledger.close()
      }
      const checkpoint = await readFile(join(dir, 'checkpoint'), 'utf8')
      for (const vkey of [[testKey.vkey], [second.vkey], [testKey.vkey, second.vkey]]) {
        const { ok, vkeys } = await verifyDir(dir, { vkey, since: checkpoint })
        expect(ok).toBe(true)
        expect(vkeys).toContain(second.vkey)
      }
      expect((await verifyDir(dir, { vkey: stranger.vkey })).ok).toBe(false)
    }))

  it('is followed over several changes, and a saved checkpoint may be of any key on the way', () =>
    withFolder(async (dir) => {
      const payloads = [numberedEntry(0), handover(testKey, second), handover(second, third)].map(stampedEntry)
      const signed = (size: number, key: SigningKey): string => {
        const { root } = tileLog(payloads.slice(0, size))
        return signCheckpoint({ origin, size, root }, key)
      }
      await writeRawLedger(dir, payloads, { key: third })
      for (const since of [signed(1, testKey), signed(2, testKey), signed(2, second), signed(3, third)]) {
        expect(await verifyDir(dir, { since })).toMatchObject({
          ok: true,
          vkeys: [testKey.vkey, second.vkey, third.vkey],
        })
      }
      const { ok, problems } = await verifyDir(dir, { since: signed(2, stranger) })
      expect({ ok, problems }).toMatchObject({ ok: false, problems: [{ rule: 'since' }] })
      // The key that signed before is still trusted, and so is what it signs for today.
      await writeFile(join(dir, 'checkpoint'), signed(3, testKey))
      expect((await verifyDir(dir)).ok).toBe(true)
    }))

  it('is followed over more than one bundle, also from where a run was interrupted', () =>
    withFolder(async (folder) => {
      const dir = join(folder, 'log')
      const bodies = [handover(testKey, second), ...Array.from({ length: 800 }, (_, n) => numberedEntry(n))]
      await writeRawLedger(dir, bodies.map(stampedEntry), { key: second, segments: [] })
      const stateFile = join(folder, 'state')
      const stop = new AbortController()
      const run = verifyDir(dir, { stateFile, signal: stop.signal, onProgress: () => stop.abort(new Error('enough')) })
      await expect(run).rejects.toThrow('enough')
      expect(await verifyDir(dir, { stateFile })).toMatchObject({ ok: true, vkeys: [testKey.vkey, second.vkey] })
    }))

  it.each<[string, EntryBody]>([
    ['that the new key says itself', rotated(second.vkey, signRotation(second, second.vkey))],
    ['that a stranger says', rotated(second.vkey, signRotation(stranger, second.vkey))],
  ])('a rotation %s is not followed', async (_, body) => {
    expect(await judged([body], second)).toMatchObject(distrusted)
    // It proves nothing and is no fault to whoever knows the key from elsewhere.
    expect(await judged([body], testKey)).toMatchObject({ ok: true, vkeys: [testKey.vkey] })
  })

  const signature = (text: string): string => text.slice(text.indexOf('\n\n') + 2)
  const sound = signRotation(testKey, second.vkey)
  const about = (name: string, key: SigningKey): string =>
    signNote(`writ.dev/ledger-key-rotation@v1\n${name}\n${key.vkey}\n`, [testKey])

  it.each<[string, EntryBody]>([
    ['whose signature is of another text', rotated(third.vkey, sound.replace(second.vkey, third.vkey))],
    ['whose signature was altered', rotated(second.vkey, sound.replace(/.{8}\n$/, 'AAAAAAA=\n'))],
    ['without a signature', rotated(second.vkey, sound.replace(signature(sound), ''))],
    ['of another key than its statement', rotated(third.vkey, sound)],
    ['about another log', rotated(second.vkey, about('other.test/ledger', second))],
    [
      'to the key of another log',
      rotated(keyOf(21, 'other.test/ledger').vkey, about(origin, keyOf(21, 'other.test/ledger'))),
    ],
    [
      'that is a checkpoint',
      rotated(second.vkey, signCheckpoint({ origin, size: 1, root: Buffer.alloc(32) }, testKey)),
    ],
    ['that is no note', rotated(second.vkey, 'trust me')],
  ])('a rotation %s is a problem, and its key is not trusted', async (_, body) => {
    const byNew = await judged([body], second)
    expect(byNew).toMatchObject({ ok: false, vkeys: [testKey.vkey] })
    expect(byNew.problems).toContainEqual(['checkpoint', undefined])
    expect(await judged([body], testKey)).toMatchObject({ ok: false, problems: [['rotation', 1]] })
  })

  it('a chain that misses a link is not followed', async () => {
    expect(await judged([handover(second, third)], third)).toMatchObject(distrusted)
    expect(await judged([handover(second, third), handover(testKey, second)], third)).toMatchObject(distrusted)
    expect(await judged([handover(second, third)], third, [testKey.vkey, second.vkey])).toMatchObject({ ok: true })
  })
})
