import { Pool } from 'undici'

/** A JSON API over a pool of kept connections: what a careful user of either server would write. */
export interface Client {
  /** Sends and reads the whole answer. @throws Error when the status is not one of those expected */
  send(call: Call): Promise<unknown>
  close(): Promise<void>
}

export interface Call {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: object
  /** 200 and 201 when absent. */
  readonly expect?: number
}

/** As many connections as there are calls at once, opened when first needed and kept. */
export function createClient(address: string, connections: number): Client {
  const pool = new Pool(address, { connections, pipelining: 1, keepAliveTimeout: 120_000 })
  return {
    async send({ method, path, headers = {}, body, expect }) {
      const answer = await pool.request({
        method,
        path,
        headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json' },
        body: body === undefined ? null : JSON.stringify(body),
      })
      const text = await answer.body.text()
      const wanted = expect === undefined ? answer.statusCode < 300 : answer.statusCode === expect
      if (!wanted) throw new Error(`${method} ${path} answered ${answer.statusCode}: ${text.slice(0, 300)}`)
      return text === '' ? undefined : JSON.parse(text)
    },
    close: () => pool.close(),
  }
}
