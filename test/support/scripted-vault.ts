import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** What a scripted server saw of one request. */
interface SeenRequest {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** An HTTP server that misbehaves as told: for the faults a healthy Vault does not show. */
export interface ScriptedVault {
  readonly address: string
  readonly seen: readonly SeenRequest[]
  /** Sockets opened so far. */
  sockets(): number
  stop(): Promise<void>
}

export type Answer = (response: ServerResponse, request: SeenRequest) => void

/** Answers with a status and a JSON body. */
export const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Answer =>
  (response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
  }

/** Reads the request and never answers. */
export const silence: Answer = () => {}

/** Reads the request and drops the connection. */
export const hangUp: Answer = (response) => {
  response.socket?.destroy()
}

/** Serves `answer` for every request whose body was read in full. */
export async function scriptedVault(answer: Answer): Promise<ScriptedVault> {
  const seen: SeenRequest[] = []
  const open = new Set<Socket>()
  let sockets = 0
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      const read = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body }
      seen.push(read)
      answer(response, read)
    })
  })
  server.on('connection', (socket) => {
    sockets += 1
    open.add(socket)
    socket.on('close', () => open.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const at = server.address()
  if (at === null || typeof at === 'string') throw new Error('no port')
  return {
    address: `http://127.0.0.1:${at.port}`,
    seen,
    sockets: () => sockets,
    async stop() {
      for (const socket of open) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
