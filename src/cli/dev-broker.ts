import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { compose, type Running } from '../compose.ts'
import { brokerConfig } from '../dev/broker-config.ts'
import type { DevStack } from '../dev/stack.ts'

/** The one place where the broker is put over a development stack: the wiring of production, with the stack's own keys. */
export function startDevBroker(
  stack: DevStack,
  options: { readonly port: number; readonly policiesDir: string; readonly log: Log; readonly clock?: Clock },
): Promise<Running> {
  const { log, clock } = options
  const identity = { keysFor: stack.issuer.keysFor, allowLoopbackHttp: true }
  return compose(brokerConfig(stack, options), { log, identity, ...(clock === undefined ? {} : { clock }) })
}
