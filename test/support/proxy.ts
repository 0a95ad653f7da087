import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/**
 * What the network does. `pass`: nothing. `refuse`: connections are reset at once, and those that are open too.
 * `stall`: bytes are taken and nothing goes on or comes back. `cut`: the request arrives and is carried out, and the
 * connection is reset instead of its answer. `slow`: answers come `delayMs` late.
 */
export type Weather = 'pass' | 'refuse' | 'stall' | 'cut' | { readonly delayMs: number }

/** A TCP proxy in front of a server, whose weather a test changes while connections are open. */
export interface TcpProxy {
  /** The target's URL, by way of this proxy. */
  readonly url: string
  set(weather: Weather): void
  /** Whether the weather applies to a request that begins with these bytes; all of them unless told otherwise. */
  only(matches: (head: string) => boolean): void
  /** Requests that were seen on their way while the weather was not `pass`. */
  readonly met: number
  stop(): Promise<void>
}

export async function startProxy(targetUrl: string): Promise<TcpProxy> {
  const target = new URL(targetUrl)
  const sockets = new Set<Socket>()
  let weather: Weather = 'pass'
  let matches: (head: string) => boolean = () => true
  let met = 0

  const server = createServer((near) => {
    if (weather === 'refuse') return void near.resetAndDestroy()
    const far = connect(Number(target.port), target.hostname)
    let applies = false
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
    near.on('data', (chunk: Buffer) => {
      applies = weather !== 'pass' && matches(chunk.toString('latin1'))
      if (applies) met += 1
      if (applies && weather === 'stall') return
      far.write(chunk)
    })
    far.on('data', (chunk: Buffer) => {
      if (!applies || weather === 'pass') near.write(chunk)
      else if (typeof weather === 'object') setTimeout(() => near.writable && near.write(chunk), weather.delayMs)
      else if (weather === 'cut') near.resetAndDestroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    set(next) {
      weather = next
      met = 0
      if (next === 'refuse') for (const socket of sockets) socket.resetAndDestroy()
    },
    only(filter) {
      matches = filter
    },
    get met() {
      return met
    },
    async stop() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
