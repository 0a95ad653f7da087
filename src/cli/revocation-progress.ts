import { setTimeout as pause } from 'node:timers/promises'
import type { RevocationView } from '../contract/revocation.ts'
import { type Io, writeJson } from './command.ts'
import type { BrokerClient } from './http-client.ts'
import { createProgressBar } from './progress-bar.ts'

const everyMs = 500

/**
 * Looks on until everything of an order has ended, or was tried once: what is left then may take as long as Vault is away. A line of
 * JSON each time it has come further, where that is asked for; the last state is left to the caller.
 */
export async function followOrder(
  client: Pick<BrokerClient, 'revocation'>,
  first: RevocationView,
  io: Io,
  json = false,
): Promise<RevocationView> {
  const bar = createProgressBar(io, 'grants ended')
  let order = first
  let told = -1
  while (order.status === 'open' && !order.tried) {
    if (json && order.done !== told) writeJson(io, { ...order, grants: undefined })
    told = order.done
    bar.show(order.done, order.matched)
    await pause(everyMs)
    order = await client.revocation(order.revocation)
  }
  bar.clear()
  return order
}
