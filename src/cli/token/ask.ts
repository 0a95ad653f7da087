import { type IncomingMessage, Agent as PlainAgent, request as plainRequest } from 'node:http'
import { Agent as TlsAgent, request as tlsRequest } from 'node:https'

const standardDeadlineMs = 5_000
const maxAnswerBytes = 64 * 1024

/** One question to a platform. */
export interface Question {
  readonly method?: 'GET' | 'PUT' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /**
   * Goes to the machine or the local network: a proxy that the environment names never sees it, as that would be to hand
   * the token over, and to take one from whoever runs the proxy.
   */
  readonly local?: boolean
  readonly deadlineMs?: number
}

/** What a platform answered. */
export interface Answer {
  readonly status: number
  readonly text: string
}

/**
 * Asks a platform for something. An answer takes five seconds (or the deadline) and 64 KiB at most, and no redirect is followed.
 * @throws Error that says why in a few words and holds nothing that was sent or received.
 */
export async function ask(url: URL, question: Question): Promise<Answer> {
  const { method = 'GET', headers = {}, body, local = false, deadlineMs = standardDeadlineMs } = question
  const tls = url.protocol === 'https:'
  if (!tls && url.protocol !== 'http:') throw new Error('its address is not an http:// or https:// URL')
  const signal = AbortSignal.timeout(deadlineMs)
  // A new agent takes no proxy from the environment; the common one does where Node was told so.
  const agent = local ? { agent: tls ? new TlsAgent() : new PlainAgent() } : {}
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = (tls ? tlsRequest : plainRequest)(url, { method, headers, signal, ...agent }, resolve)
      request.on('error', reject)
      request.end(body)
    })
    return { status: response.statusCode ?? 0, text: await textOf(response) }
  } catch (error) {
    if (signal.aborted) throw new Error(`it did not answer within ${deadlineMs / 1000} s`)
    throw error instanceof TooLong ? error : new Error(`it cannot be reached${codeOf(error)}`)
  }
}

class TooLong extends Error {}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response) {
    const bytes = Buffer.from(chunk)
    size += bytes.length
    if (size > maxAnswerBytes) throw new TooLong('it answered more than 64 KiB')
    chunks.push(bytes)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The member of a JSON object that was answered, when it is text. */
export function textMember({ text }: Answer, name: string): string | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  const member: unknown = (value as Record<string, unknown>)[name]
  return typeof member === 'string' && member !== '' ? member : undefined
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? ` (${code})` : ''
}
