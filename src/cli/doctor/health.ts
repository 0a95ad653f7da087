import { type IncomingMessage, request as plainRequest } from 'node:http'
import { request as tlsRequest } from 'node:https'
import type { Config } from '../../config/config.ts'

const deadlineMs = 3_000
const maxBodyBytes = 1024 * 1024

/** Whether the broker of this configuration, on this machine, answers `/healthz`. For the health check of a container. */
export async function isHealthy(config: Config): Promise<boolean> {
  return (await askHere(config, '/healthz'))?.status === 200
}

/** What the broker of this machine answers; nothing when there is no answer. */
export function askHere(
  { listen: { host, port, tls } }: Config,
  path: string,
): Promise<{ readonly status: number; readonly body: string } | undefined> {
  const here = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  const options = { host: here, port, path, timeout: deadlineMs }
  return new Promise((resolve) => {
    const request =
      tls === undefined
        ? plainRequest(options)
        : // The certificate carries the public name, not the address of this machine, and nothing secret is sent.
          tlsRequest({ ...options, rejectUnauthorized: false })
    request.on('response', (response) => {
      textOf(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, body }),
        () => resolve(undefined),
      )
    })
    request.on('timeout', () => request.destroy(new Error('timeout')))
    request.on('error', () => resolve(undefined))
    request.end()
  })
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk
    if (text.length > maxBodyBytes) throw new Error('too long')
  }
  return text
}
