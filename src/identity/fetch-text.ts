import { type Dispatcher, request } from 'undici'
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
export const keyUrl = (text: string, allowLoopbackHttp: boolean): URL =>
  safeUrl(text, 'the address of the keys', allowLoopbackHttp)

/** Reads a URL out of a policy that the broker calls; `what` names it in errors. @throws KeyFetchError */
export function safeUrl(text: string, what: string, allowLoopbackHttp: boolean): URL {
  if (!URL.canParse(text)) throw new KeyFetchError(`${what} is not a URL`)
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') throw new KeyFetchError(`${what} holds a password`)
  const allowed =
    url.protocol === 'https:' || (allowLoopbackHttp && url.protocol === 'http:' && loopback.test(url.hostname))
  if (!allowed) throw new KeyFetchError(`${what} is not https`)
  return url
}

/** What is asked, beyond the URL. */
export type Asked = Pick<Dispatcher.RequestOptions, 'method' | 'body'> & {
  readonly headers: Readonly<Record<string, string>>
  readonly dispatcher?: Dispatcher
}

/** Asks within the bounds above. No redirect is followed. @throws KeyFetchError */
export type Ask = (url: URL, asked: Asked) => Promise<{ readonly status: number; readonly text: string }>

/**
 * Asks over HTTP. No redirect is followed, to any host: where to ask is for the policy and the discovery document to say.
 * No content encoding is accepted, so that what is counted is what is read. `closing` ends what is under way.
 */
export function createAsk(clock: Clock, closing: AbortSignal): Ask {
  return async (url, asked) => {
    const deadline = new AbortController()
    const timer = clock.after(fetchTimeoutMs, () => deadline.abort())
    try {
      return await ask(url, asked, AbortSignal.any([deadline.signal, closing]))
    } catch (error) {
      if (error instanceof KeyFetchError) throw error
      if (deadline.signal.aborted) throw new KeyFetchError(`${url.host} took longer than ${fetchTimeoutMs / 1000} s`)
      throw new KeyFetchError(`${url.host} cannot be reached (${failureCode(error)})`)
    } finally {
      timer.cancel()
    }
  }
}

/** Fetches documents with `createAsk`. */
export function createFetchText(clock: Clock, closing: AbortSignal): FetchText {
  const askFor = createAsk(clock, closing)
  const headers = { accept: 'application/json, application/jwk-set+json' }
  return async (url) => {
    const { status, text } = await askFor(url, { method: 'GET', headers })
    if (status !== 200) throw new KeyFetchError(`${url.host} answered ${status}`)
    return text
  }
}

async function ask(url: URL, asked: Asked, signal: AbortSignal): Promise<{ status: number; text: string }> {
  const headers = { ...asked.headers, 'accept-encoding': 'identity' }
  // A connection of its own: fetches are minutes apart, and an idle socket would outlive the server's patience.
  const { statusCode, headers: answered, body } = await request(url, { ...asked, signal, headers, reset: true })
  // Dropping a body that was not read to its end emits an error that nobody waits for; unheard, it would end the process.
  body.on('error', () => {})
  try {
    if (statusCode >= 300 && statusCode < 400) throw new KeyFetchError(`${url.host} redirects, which is not followed`)
    // What an answer that is no success says is of no use, and is not read.
    if (statusCode < 200 || statusCode >= 300) return { status: statusCode, text: '' }
    const encoding = answered['content-encoding']
    if (encoding !== undefined && encoding !== 'identity') throw new KeyFetchError(`${url.host} sent encoded content`)
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > maxDocumentBytes) throw new KeyFetchError(`${url.host} sent more than ${maxDocumentBytes} bytes`)
      chunks.push(chunk)
    }
    return { status: statusCode, text: decode(Buffer.concat(chunks), url.host) }
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
