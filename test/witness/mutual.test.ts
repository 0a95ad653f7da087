import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { openCheckpoint } from '../../src/ledger/log/checkpoint.ts'
import { cosignaturesOf, parseWitnessVkey } from '../../src/ledger/log/cosignature.ts'
import { parseVkey, type SigningKey, signingKeyOf } from '../../src/ledger/log/note.ts'
import type { Proof } from '../../src/ledger/log/proof.ts'
import { type Cosigner, createCosigner, type SignedHead } from '../../src/ledger/witnesses/cosigned.ts'
import { eventually } from '../support/child.ts'
import { numberedEntry } from '../support/entries.ts'
import { collect, openTestLedger, withFolder } from '../support/ledger.ts'
import { memoryLog } from '../support/memory-log.ts'
import { spawnWrit, type WritProcess } from '../support/serve.ts'
import { witnessSkey } from '../support/witness.ts'

/** One of two installations: a ledger of its own, and a witness process for the other's. */
interface Installation {
  readonly dir: string
  readonly key: SigningKey
  readonly witness: WritProcess
  readonly url: string
  readonly witnessVkey: string
}

async function install(parent: string, n: number, watched: SigningKey): Promise<Installation> {
  const dir = join(parent, `i${n}`)
  const config = join(parent, `w${n}.yaml`)
  await writeFile(join(parent, `w${n}.key`), witnessSkey(`w${n}.test`, n), { mode: 0o600 })
  const settings = { listen: { port: 0 }, data: `w${n}`, keyFile: `w${n}.key`, logs: [{ vkey: watched.vkey }] }
  await writeFile(config, stringify(settings))
  const witness = spawnWrit(['witness', '--config', config])
  const { url, vkey } = await eventually(async () => JSON.parse(witness.stdout()), 'listening', 60_000)
  return { dir, key: keyOf(n), witness, url, witnessVkey: vkey }
}

const keyOf = (n: number): SigningKey => signingKeyOf(`i${n}.test/ledger`, new Uint8Array(32).fill(40 + n))

interface Day extends SignedHead {
  readonly prove: (from: number) => Promise<Proof>
}

/** Opens the ledger, appends and closes it; what it signed then is to be cosigned. */
async function day({ dir, key }: Installation, entries: number, from = 0): Promise<Day> {
  const ledger = await openTestLedger(dir, { origin: key.name, key })
  for (let n = 0; n < entries; n++) await ledger.append(numberedEntry(from + n))
  const leaves = await collect(ledger.read(0))
  await ledger.close()
  const log = memoryLog(leaves.map(({ leafHash }) => Buffer.from(leafHash, 'hex')))
  const note = await readFile(join(dir, 'checkpoint'), 'utf8')
  return { note, size: log.size, entries: log.size, prove: log.prove }
}

function cosignerOf({ key }: Installation, by: Installation, rolledBack: number[] = []): Cosigner {
  return createCosigner({
    witnesses: [{ name: 'the other', url: by.url, vkey: by.witnessVkey }],
    quorum: 1,
    timeoutMs: 20_000,
    origin: key.name,
    keys: [parseVkey(key.vkey)],
    clock: systemClock,
    log: silentLog,
    onRolledBack: (size) => rolledBack.push(size),
  })
}

describe('two installations that watch each other', () => {
  it('cosign each other’s checkpoints, and neither can go back to a copy of yesterday', { timeout: 180_000 }, () =>
    withFolder(async (parent) => {
      const pair = await Promise.all([install(parent, 1, keyOf(2)), install(parent, 2, keyOf(1))])
      try {
        const [one, two] = pair
        for (const [mine, other] of [
          [one, two],
          [two, one],
        ] as const) {
          const first = await day(mine, 3)
          const cosigner = cosignerOf(mine, other)
          expect(await cosigner.cosign(first)).toMatchObject({ cosigned: 1, enough: true })
          await cp(mine.dir, `${mine.dir}.yesterday`, { recursive: true })
          const second = await day(mine, 4)
          const { note } = await cosigner.cosign(second)
          expect(openCheckpoint(note, parseVkey(mine.key.vkey)).size).toBe(7)
          expect(cosignaturesOf(note, [parseWitnessVkey(other.witnessVkey)])).toHaveLength(1)
          await cosigner.close()
        }

        await rm(one.dir, { recursive: true })
        await cp(`${one.dir}.yesterday`, one.dir, { recursive: true })
        const restored = await day(one, 0)
        expect(restored.size).toBe(3)
        const rolledBack: number[] = []
        const cosigner = cosignerOf(one, two, rolledBack)
        await expect(cosigner.askWitnesses(restored)).rejects.toThrow('shows a checkpoint over 7 signed by this log')
        expect(await cosigner.cosign(restored)).toMatchObject({ cosigned: 0, enough: false })
        expect(rolledBack).toEqual([7])
        await cosigner.close()
        // Whoever goes on regardless, past what was witnessed, has a second history that nobody cosigns.
        const regardless = await day(one, 9, 100)
        const another = cosignerOf(one, two)
        expect(await another.askWitnesses(regardless)).toEqual([{ name: 'the other', size: 7 }])
        expect(await another.cosign(regardless)).toMatchObject({ cosigned: 0, enough: false })
        await another.close()
      } finally {
        for (const { witness } of pair) witness.signal('SIGTERM')
        for (const { witness } of pair) expect((await witness.exited).code).toBe(0)
      }
    }),
  )
})
