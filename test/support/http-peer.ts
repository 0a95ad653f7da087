import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A server that answers as a test wants it to, well or badly. */
export interface HttpPeer {
  readonly url: string
  /** What it was asked, in order. */
  readonly asked: readonly { readonly method: string; readonly path: string; readonly body: string }[]
  close(): Promise<void>
}

/** `answer` is called with the body read; whatever it does not end stays open. */
export async function startPeer(
  answer: (request: { method: string; path: string; body: string }, response: ServerResponse) => void,
): Promise<HttpPeer> {
  const asked: { method: string; path: string; body: string }[] = []
  const server = createServer((incoming: IncomingMessage, response) => {
    let body = ''
    incoming.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk
    })
    incoming.on('end', () => {
      const request = { method: incoming.method ?? '', path: incoming.url ?? '', body }
      asked.push(request)
      answer(request, response)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}
