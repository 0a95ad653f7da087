import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../src/base/clock.ts'
import { type Log, silentLog } from '../../src/base/log.ts'
import { type CosigningKey, parseWitnessSkey, parseWitnessVkey } from '../../src/ledger/log/cosignature.ts'
import { formatSkey, keyTypes, parseVkey, type VerifierKey } from '../../src/ledger/log/note.ts'
import { formatAddCheckpoint } from '../../src/ledger/log/witness-protocol.ts'
import type { Disk } from '../../src/ledger/store/disk.ts'
import { type AddCheckpointDeps, type Answer, addCheckpoint } from '../../src/witness/add-checkpoint.ts'
import { type Head, type HeadStore, openHeadStore } from '../../src/witness/head-store.ts'
import { type RunningWitness, startWitness } from '../../src/witness/start.ts'
import { type FakeClock, fakeClock } from './clock.ts'
import { withFolder } from './ledger.ts'

export const witnessSkey = (name: string, fill = 5): string =>
  formatSkey(name, new Uint8Array(32).fill(fill), keyTypes.cosignature)

/** The same key in every test, so that a folder can be opened again. */
export const witnessKey: CosigningKey = parseWitnessSkey(witnessSkey('witness.test'))

/** The logs a witness is to know, by the origin that is the name of their key. */
export const logsOf = (...vkeys: readonly string[]): ReadonlyMap<string, readonly VerifierKey[]> =>
  Map.groupBy(vkeys.map(parseVkey), ({ name }) => name)

export const openTestStore = (dir: string, logs: AddCheckpointDeps['logs'], fs?: Disk): Promise<HeadStore> =>
  openHeadStore({ dir, origins: [...logs.keys()], key: parseWitnessVkey(witnessKey.vkey), ...(fs && { fs }) })

/** A witness without its HTTP. */
export interface TestWitness {
  readonly deps: AddCheckpointDeps
  readonly clock: FakeClock
  readonly store: HeadStore
  send(request: Parameters<typeof formatAddCheckpoint>[0]): Promise<Answer>
}

/** Runs `use` with a witness over a folder that is gone afterwards. */
export function withWitness<T>(vkeys: readonly string[], use: (witness: TestWitness) => Promise<T>): Promise<T> {
  return withFolder(async (dir) => {
    const logs = logsOf(...vkeys)
    const store = await openTestStore(join(dir, 'witness'), logs)
    const clock = fakeClock()
    const deps = { logs, store, contradicted: new WeakSet<Head>(), key: witnessKey, clock, log: silentLog }
    try {
      return await use({ deps, clock, store, send: (request) => addCheckpoint(bodyOf(request), deps) })
    } finally {
      await store.close()
    }
  })
}

export const bodyOf = (request: Parameters<typeof formatAddCheckpoint>[0]): Buffer =>
  Buffer.from(formatAddCheckpoint(request))

/** A witness that listens on a port of its own, over a folder in `dir` that may be opened again. */
export async function startTestWitness(
  dir: string,
  vkeys: readonly string[],
  over: {
    readonly skey?: string
    readonly clock?: Clock
    readonly log?: Log
    readonly fs?: Disk
    readonly port?: number
  } = {},
): Promise<RunningWitness> {
  const keyFile = join(dir, 'witness.key')
  await writeFile(keyFile, over.skey ?? witnessSkey('witness.test'), { mode: 0o600 })
  return startWitness(
    {
      listen: { host: '127.0.0.1', port: over.port ?? 0, tls: undefined },
      data: join(dir, 'heads'),
      keyFile,
      logs: logsOf(...vkeys),
    },
    { clock: over.clock ?? fakeClock(), log: over.log ?? silentLog, ...(over.fs && { fs: over.fs }) },
  )
}
