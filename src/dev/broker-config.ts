import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import type { DevStack } from './stack.ts'

/** The configuration of a broker over the stack: on loopback, ledger in the data folder, memory for state. */
export function brokerConfig(stack: DevStack, options: { port: number; policiesDir: string }): Config {
  return Object.freeze({
    url: `http://127.0.0.1:${options.port}`,
    listen: { host: '127.0.0.1', port: options.port, tls: undefined },
    policies: options.policiesDir,
    vault: {
      address: stack.vault.address,
      namespace: undefined,
      caFile: undefined,
      timeoutMs: 10_000,
      auth: { method: 'token' as const, token: stack.vault.brokerToken },
    },
    ledger: {
      kind: 'file' as const,
      dir: join(stack.dataDir, 'ledger'),
      origin: 'writ.localhost/ledger',
      key: undefined,
      keyFile: join(stack.dataDir, 'ledger.key'),
      sealKey: undefined,
      previousKeyFile: undefined,
      anchor: undefined,
      archive: undefined,
      public: false,
      witnesses: [],
      quorum: 0,
      witnessTimeoutMs: 1000,
    },
    state: { kind: 'memory' as const },
    limits: { concurrency: 256, requestTimeoutMs: 30_000, drainTimeoutMs: 5_000 },
    // Often enough that somebody who tries it out sees an orphan found.
    reconcile: { everyMs: 15_000, concurrency: 8, perSecond: 500 },
    policyChange: { brake: { percent: 20, least: 10 } },
    log: { level: 'warn' as const },
  })
}
