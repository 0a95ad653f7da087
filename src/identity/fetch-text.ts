import { request } from 'undici'
import type { Clock } from '../base/clock.ts'

/** Greatest size of a key or discovery document. */
export const maxDocumentBytes = 256 * 1024
/** Longest a document may take from first byte sent to last byte read. */
export const fetchTimeoutMs = 5000

/** Gets the text behind a URL that was checked, within the bounds above. @throws KeyFetchError */
export type FetchText = (url: URL) => Promise<string>

/** A document that could not be got. The message holds host names, statuses and error codes, nothing of any body. */
export class KeyFetchError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'KeyFetchError'
  }
}

const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/

/** Reads a URL that keys may come from: https, or http to loopback where that is allowed. @throws KeyFetchError */
export function keyUrl(text: string, allowLoopbackHttp: boolean): URL {
  if (!URL.canParse(text)) throw new KeyFetchError('the address of the keys is not a URL')
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') throw new KeyFetchError('the address of the keys holds a password')
  const allowed =
    url.protocol === 'https:' || (allowLoopbackHttp && url.protocol === 'http:' && loopback.test(url.hostname))
  if (!allowed) throw new KeyFetchError('the address of the keys is not https')
  return url
}

/**
 * Fetches over HTTP. No redirect is followed, to any host: where keys come from is for the policy and the discovery document
 * to say. No content encoding is accepted, so that what is counted is what is read. `closing` ends what is under way.
 */
export function createFetchText(clock: Clock, closing: AbortSignal): FetchText {
  return async (url) => {
    const deadline = new AbortController()
    const timer = clock.after(fetchTimeoutMs, () => deadline.abort())
    try {
      return await get(url, AbortSignal.any([deadline.signal, closing]))
    } catch (error) {
      if (error instanceof KeyFetchError) throw error
      if (deadline.signal.aborted) throw new KeyFetchError(`${url.host} took longer than ${fetchTimeoutMs / 1000} s`)
      throw new KeyFetchError(`${url.host} cannot be reached (${failureCode(error)})`)
    } finally {
      timer.cancel()
    }
  }
}

async function get(url: URL, signal: AbortSignal): Promise<string> {
  const headers = { accept: 'application/json, application/jwk-set+json', 'accept-encoding': 'identity' }
  // A connection of its own: fetches are minutes apart, and an idle socket would outlive the server's patience.
  const { statusCode, headers: answered, body } = await request(url, { signal, headers, reset: true })
  // Dropping a body that was not read to its end emits an error that nobody waits for; unheard, it would end the process.
  body.on('error', () => {})
  try {
    if (statusCode >= 300 && statusCode < 400) throw new KeyFetchError(`${url.host} redirects, which is not followed`)
    if (statusCode !== 200) throw new KeyFetchError(`${url.host} answered ${statusCode}`)
    const encoding = answered['content-encoding']
    if (encoding !== undefined && encoding !== 'identity') throw new KeyFetchError(`${url.host} sent encoded content`)
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > maxDocumentBytes) throw new KeyFetchError(`${url.host} sent more than ${maxDocumentBytes} bytes`)
      chunks.push(chunk)
    }
    return decode(Buffer.concat(chunks), url.host)
  } finally {
    body.destroy()
  }
}

function decode(bytes: Buffer, host: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new KeyFetchError(`${host} sent text that is not UTF-8`)
  }
}

function failureCode(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && /^[A-Z0-9_]{1,60}$/.test(code) ? code : 'no code'
}
