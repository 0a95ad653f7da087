import { once } from 'node:events'
import { createServer } from 'node:net'
import { type Clock, systemClock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { compose, type Running } from '../compose.ts'
import { brokerConfig } from '../dev/broker-config.ts'
import type { DevStack } from '../dev/stack.ts'
import { loadPolicies } from '../policy/load.ts'

/** The one place where the broker is put over a development stack: the wiring of production, with the stack's own keys. */
export async function startDevBroker(
  stack: DevStack,
  options: { readonly port: number; readonly policiesDir: string; readonly log: Log; readonly clock?: Clock },
): Promise<Running> {
  const { log, clock, policiesDir } = options
  // The broker names itself in links, so it must know its port before it listens.
  const port = options.port === 0 ? await freePort() : options.port
  const identity = { keysFor: stack.issuer.keysFor, allowLoopbackHttp: true }
  // The examples were reviewed when they were written; so that they work for years, here they are reviewed at the start.
  const reviewedAtMs = (clock ?? systemClock).now()
  return compose(brokerConfig(stack, { port, policiesDir }), {
    log,
    identity,
    ...(clock === undefined ? {} : { clock }),
  })
}

async function freePort(): Promise<number> {
  const server = createServer()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const address = server.address()
  server.close()
  return typeof address === 'object' && address !== null ? address.port : 0
}
