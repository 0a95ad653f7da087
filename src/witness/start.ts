import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { startServer } from '../http/server.ts'
import { parseWitnessVkey } from '../ledger/log/cosignature.ts'
import type { Disk } from '../ledger/store/disk.ts'
import { createWitnessApp } from './app.ts'
import type { WitnessConfig } from './config.ts'
import { openHeadStore } from './head-store.ts'
import { openWitnessKey } from './key.ts'

/** A witness that answers. */
export interface RunningWitness {
  readonly url: string
  /** Its verifier key, for those who name it. */
  readonly vkey: string
  /** Resolves when it can remember nothing any more, and so must not go on. */
  readonly failed: Promise<Error>
  /** Finishes what is under way. */
  close(): Promise<void>
}

const drainMs = 5000

/**
 * The wiring of a witness.
 * @throws BrokerFault `ledger_unavailable` when the key or the folder cannot be used, `internal` when the port cannot be had
 */
export async function startWitness(
  config: WitnessConfig,
  { clock, log, fs }: { readonly clock: Clock; readonly log: Log; readonly fs?: Disk },
): Promise<RunningWitness> {
  const { host, port, tls } = config.listen
  const key = await openWitnessKey(config.keyFile)
  const store = await openHeadStore({
    dir: config.data,
    origins: [...config.logs.keys()],
    key: parseWitnessVkey(key.vkey),
    ...(fs !== undefined && { fs }),
  })
  try {
    const app = createWitnessApp({ logs: config.logs, store, contradicted: new WeakSet(), key, clock, log })
    // Only what is no HTTP at all is answered with a problem, which has no page of its own here.
    const server = await startServer({ app, host, port, ...(tls && { tls }), clock, log, docsUrlBase: '' })
    return {
      url: server.url,
      vkey: key.vkey,
      failed: store.failed,
      async close() {
        await server.close(drainMs)
        await store.close()
      },
    }
  } catch (error) {
    await store.close()
    throw error
  }
}
