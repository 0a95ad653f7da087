import type { IncomingMessage } from 'node:http'
import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'
import type { Clock } from '../base/clock.ts'
import type { GrantId, RequestId } from '../base/ids.ts'
import type { Limits } from './limits.ts'
import type { Incoming } from './route.ts'

/** The environment of a request: Node's streams over a socket, nothing under `app.request`. */
export type Env = { Bindings: Partial<HttpBindings> }

// hono gives no bindings at all when a request is handed in without any.
const bindings = (c: Context<Env>): Partial<HttpBindings> => c.env ?? {}

/** The view of a request that routes read. */
export function incomingOf(c: Context<Env>, requestId: RequestId, limits: Limits, clock: Clock): Incoming {
  const incoming = bindings(c).incoming
  return {
    requestId,
    limits,
    clock,
    incoming,
    raw: c.req.raw,
    url: c.req.url,
    target: pathOf(incoming?.url ?? c.req.url),
    ip: addressOf(incoming),
    header: (name) => c.req.raw.headers.get(name) ?? undefined,
    param: (name) => c.req.param(name),
  }
}

// The absolute form of a target (RFC 9112 section 3.2.2) is as good as the usual one.
function pathOf(target: string): string {
  const path = target.startsWith('/') ? target : new URL(target).pathname
  return path.split('?', 1)[0] ?? ''
}

// A dual-stack socket names an IPv4 peer in IPv6 form; policies write the plain one.
function addressOf(incoming: IncomingMessage | undefined): string {
  const address = incoming?.socket.remoteAddress ?? ''
  return address.startsWith('::ffff:') ? address.slice(7) : address
}

/** Whether part of the body is still to come and nobody will read it. */
export function hasUnreadBody(c: Context<Env>): boolean {
  const incoming = bindings(c).incoming
  return incoming !== undefined && !incoming.complete
}

/** Calls `undelivered` when the connection ends before the whole answer was handed to the operating system. */
export function watchDelivery(
  c: Context<Env>,
  grants: readonly GrantId[],
  undelivered: (grant: GrantId) => void,
): void {
  const lost = (): void => {
    for (const grant of grants) undelivered(grant)
  }
  const outgoing = bindings(c).outgoing
  if (outgoing === undefined) return
  if (outgoing.destroyed) lost()
  else {
    outgoing.once('close', () => {
      if (!outgoing.writableFinished) lost()
    })
  }
}

/** Closes the connection of a request, whatever has not been sent. */
export function cutConnection(c: Context<Env>): void {
  bindings(c).outgoing?.destroy()
}
