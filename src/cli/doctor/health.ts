import { request as plainRequest } from 'node:http'
import { request as tlsRequest } from 'node:https'
import type { Config } from '../../config/config.ts'

const deadlineMs = 3_000

/** Whether the broker of this configuration, on this machine, answers `/healthz`. For the health check of a container. */
export function isHealthy({ listen: { host, port, tls } }: Config): Promise<boolean> {
  const here = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  const options = { host: here, port, path: '/healthz', timeout: deadlineMs }
  return new Promise((resolve) => {
    const request =
      tls === undefined
        ? plainRequest(options)
        : // The certificate carries the public name, not the address of this machine, and nothing secret is sent.
          tlsRequest({ ...options, rejectUnauthorized: false })
    request.on('response', (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    request.on('timeout', () => request.destroy(new Error('timeout')))
    request.on('error', () => resolve(false))
    request.end()
  })
}
