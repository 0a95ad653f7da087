import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { openCheckpoint } from '../../../src/ledger/log/checkpoint.ts'
import { cosignaturesOf, parseWitnessSkey, parseWitnessVkeys } from '../../../src/ledger/log/cosignature.ts'
import { NoteError, parseVkey } from '../../../src/ledger/log/note.ts'
import type { FileLedger, FileLedgerOptions } from '../../../src/ledger/store/file.ts'
import { verifyLedger } from '../../../src/ledger/verify/check.ts'
import type { RunningWitness } from '../../../src/witness/start.ts'
import { eventually } from '../../support/child.ts'
import { numberedEntry } from '../../support/entries.ts'
import { openTestLedger, testKey, withFolder } from '../../support/ledger.ts'
import { startTestWitness, witnessKey, witnessSkey } from '../../support/witness.ts'

const witnessKeys = parseWitnessVkeys([witnessKey.vkey])

interface Setting {
  readonly dir: string
  readonly folder: string
  witness: RunningWitness
  /** Starts the same witness again on the same port. */
  again(): Promise<void>
  open(quorum: number, over?: Partial<FileLedgerOptions>): Promise<FileLedger>
}

const withWitness = (use: (setting: Setting) => Promise<void>) =>
  withFolder(async (folder) => {
    const witness = await startTestWitness(folder, [testKey.vkey])
    const { url } = witness
    const setting: Setting = {
      folder,
      witness,
      dir: join(folder, 'ledger'),
      async again() {
        setting.witness = await startTestWitness(folder, [testKey.vkey], { port: Number(new URL(url).port) })
      },
      open: (quorum, over = {}) =>
        openTestLedger(setting.dir, {
          clock: systemClock,
          checkpointIntervalMs: 5,
          witnesses: { witnesses: [{ name: 'w', url, vkey: witnessKey.vkey }], quorum, timeoutMs: 20_000 },
          ...over,
        }),
    }
    try {
      await use(setting)
    } finally {
      await setting.witness.close()
    }
  })

const append = async (ledger: FileLedger, count: number): Promise<void> => {
  await Promise.all(Array.from({ length: count }, (_, n) => ledger.append(numberedEntry(n))))
}
const signedAll = (ledger: FileLedger) =>
  eventually(async () => ledger.signedSize() === ledger.head().size || undefined, 'a checkpoint over everything')

describe('a ledger with witnesses', () => {
  it.each([0, 1])('publishes checkpoints with their cosignatures (quorum %d)', (quorum) =>
    withWitness(async ({ dir, open }) => {
      const ledger = await open(quorum)
      for (const count of [3, 300, 1]) {
        await append(ledger, count)
        await signedAll(ledger)
        expect(cosignaturesOf(ledger.checkpoint(), witnessKeys)).toHaveLength(1)
        expect(await readFile(join(dir, 'checkpoint'), 'utf8')).toBe(ledger.checkpoint())
      }
      await ledger.close()
    }),
  )

  it('verifies with the cosignatures that its verifier asks for, and not without', () =>
    withWitness(async ({ dir, open }) => {
      const ledger = await open(1)
      await append(ledger, 3)
      await signedAll(ledger)
      await ledger.close()
      const verify = (vkeys: readonly string[], quorum: number) =>
        verifyLedger({ dir, vkey: testKey.vkey, witnesses: { vkeys, quorum } })
      expect(await verify([witnessKey.vkey], 1)).toMatchObject({ ok: true, cosigned: [{ name: 'witness.test' }] })
      const other = parseWitnessSkey(witnessSkey('other.test', 9)).vkey
      expect(await verify([witnessKey.vkey, other], 1)).toMatchObject({ ok: true })
      for (const [vkeys, quorum] of [
        [[witnessKey.vkey, other], 2],
        [[other], 1],
      ] as const) {
        expect(await verify(vkeys, quorum)).toMatchObject({ ok: false, problems: [{ rule: 'witness' }] })
      }
      await expect(verify([testKey.vkey], 1)).rejects.toThrow(NoteError)
    }))

  it('goes on appending while too few witnesses answer, publishes nothing meanwhile, and catches up', () =>
    withWitness(async (setting) => {
      const ledger = await setting.open(1)
      await append(ledger, 2)
      await signedAll(ledger)
      await setting.witness.close()
      await append(ledger, 40)
      const kept = await eventually(async () => {
        const note = await readFile(join(setting.dir, 'checkpoint.uncosigned'))
        return openCheckpoint(note, parseVkey(testKey.vkey)).size === 42 || undefined
      }, 'the new head on disk')
      expect(kept).toBe(true)
      expect(ledger.signedSize()).toBe(2)
      expect(await ledger.covered(41, 10)).toBe(false)
      expect(await ledger.tile({ level: 0, n: 0, width: 42 })).toBeUndefined()
      await setting.again()
      expect(await ledger.covered(41, 30_000)).toBe(true)
      expect(cosignaturesOf(ledger.checkpoint(), witnessKeys)).toHaveLength(1)
      await ledger.close()
    }))

  it('is published without them as best effort', () =>
    withWitness(async (setting) => {
      await setting.witness.close()
      const ledger = await setting.open(0)
      await append(ledger, 2)
      await signedAll(ledger)
      expect(cosignaturesOf(ledger.checkpoint(), witnessKeys)).toHaveLength(0)
      await ledger.close()
      await setting.again()
    }))

  it('is refused at the start when a witness has seen more, and when its own unpublished head is not what is there', () =>
    withWitness(async (setting) => {
      const { dir, folder, open } = setting
      const first = await open(1)
      await append(first, 3)
      await first.close()
      await cp(dir, join(folder, 'yesterday'), { recursive: true })
      const second = await open(1)
      await append(second, 2)
      await second.close()
      const newest = await readFile(join(dir, 'checkpoint.uncosigned'))
      await rm(dir, { recursive: true })
      await cp(join(folder, 'yesterday'), dir, { recursive: true })
      await expect(open(0)).rejects.toThrow('shows a checkpoint over 5 signed by this log')
      await setting.witness.close()
      await (await open(0)).close()
      await rm(join(dir, 'checkpoint.uncosigned'))
      await cp(join(folder, 'yesterday'), dir, { recursive: true })
      await writeFile(join(dir, 'checkpoint.uncosigned'), newest)
      await expect(open(0)).rejects.toThrow('holds a checkpoint over 5 entries')
      await setting.again()
    }))

  it('stops when a witness proves, while it runs, that there was more', () =>
    withWitness(async (setting) => {
      const { dir, folder, open } = setting
      const first = await open(1)
      await append(first, 3)
      await first.close()
      await cp(dir, join(folder, 'yesterday'), { recursive: true })
      const second = await open(1)
      await append(second, 5)
      await second.close()
      await rm(dir, { recursive: true })
      await cp(join(folder, 'yesterday'), dir, { recursive: true })
      await setting.witness.close()
      const third = await open(1)
      await setting.again()
      await append(third, 1)
      expect(String((await third.failed).cause)).toContain('a witness shows a checkpoint over 8 entries')
      await expect(third.append(numberedEntry(1))).rejects.toMatchObject({ code: 'ledger_unavailable' })
      await third.close()
    }))
})
