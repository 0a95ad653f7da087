import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { compose, type Running } from '../compose.ts'
import { brokerConfig } from '../dev/broker-config.ts'
import type { DevStack } from '../dev/stack.ts'
import { loadPolicies } from '../policy/load.ts'

export interface DevBrokerOptions {
  /** 0 takes a free one. */
  readonly port: number
  readonly policiesDir: string
  readonly log: Log
  readonly clock?: Clock
  /** Purposes count as reviewed then, so that a story told from the examples is true for years. */
  readonly reviewedAtMs?: number
}

/** The one place where the broker is put over a development stack: the wiring of production, with the stack's own keys. */
export async function startDevBroker(stack: DevStack, options: DevBrokerOptions): Promise<Running> {
  const { log, clock, policiesDir, reviewedAtMs } = options
  // The broker names itself in links, so it must know its port before it listens.
  const port = options.port === 0 ? await freePort() : options.port
  return compose(brokerConfig(stack, { port, policiesDir }), {
    log,
    identity: { keysFor: stack.issuer.keysFor, allowLoopbackHttp: true },
    ...(clock === undefined ? {} : { clock }),
    ...(reviewedAtMs === undefined
      ? {}
      : { loadPolicies: (dir, options) => loadPolicies(dir, { ...options, reviewedAtMs }) }),
  })
}

async function freePort(): Promise<number> {
  const server = createServer()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const address = server.address()
  server.close()
  return typeof address === 'object' && address !== null ? address.port : 0
}
