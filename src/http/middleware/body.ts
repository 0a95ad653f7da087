import type { IncomingMessage } from 'node:http'
import type { z } from 'zod'
import type { Clock } from '../../base/clock.ts'
import { parseStrictJson } from '../../base/json.ts'
import { ok, type Result, refuse } from '../../base/result.ts'
import type { Limits } from '../limits.ts'
import { invalid } from './issues.ts'

/** A request as the body reader sees it: over a socket, or handed in by `app.request`. */
export interface BodySource {
  readonly raw: Request
  readonly incoming: IncomingMessage | undefined
  header(name: string): string | undefined
}

const jsonBounds = { maxDepth: 16, maxMembers: 512 }
// A byte order mark is kept, so that the parser refuses it (RFC 8259 section 8.1).
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const jsonType = /^application\/json[ \t]*(?:;[ \t]*charset=("?)utf-8\1[ \t]*)?$/i

/**
 * The body by a strict schema. Bytes are counted as they arrive, whatever `Content-Length` says; an empty body stands
 * for `{}` where every field may be absent.
 * Refuses with `media_type`, `too_large` or `request_invalid`; never repeats what was sent.
 */
export async function readBody<T>(
  source: BodySource,
  schema: z.ZodType<T>,
  limits: Limits,
  clock: Clock,
): Promise<Result<T>> {
  const type = source.header('content-type')
  if (type !== undefined && !jsonType.test(type)) return refuse('media_type', 'content-type', 'not application/json')
  const bytes = await readBytes(source, limits, clock)
  if (!bytes.ok) return bytes
  return bytes.value.length === 0 ? parseEmpty(schema) : parseBytes(bytes.value, type, schema)
}

/** The bytes of a body of any type, counted as they arrive. Refuses with `media_type`, `too_large` or `request_invalid`. */
export async function readBytes(source: BodySource, limits: Limits, clock: Clock): Promise<Result<Uint8Array>> {
  if (source.header('content-encoding') !== undefined) {
    return refuse('media_type', 'content-encoding: bodies are not compressed', 'content-encoding')
  }
  if (Number(source.header('content-length')) > limits.maxBodyBytes) return tooLarge(limits)
  return source.incoming === undefined
    ? fromStream(source.raw.body, limits)
    : fromSocket(source.incoming, limits, clock)
}

function parseEmpty<T>(schema: z.ZodType<T>): Result<T> {
  const parsed = schema.safeParse({})
  return parsed.success ? ok(parsed.data) : refuse('request_invalid', 'body: a JSON object is needed', 'empty')
}

function parseBytes<T>(bytes: Uint8Array, type: string | undefined, schema: z.ZodType<T>): Result<T> {
  if (type === undefined) return refuse('media_type', 'content-type', 'absent')
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    return refuse('request_invalid', 'body: it is not UTF-8', 'utf-8')
  }
  const json = parseStrictJson(text, jsonBounds)
  if (!json.ok) return refuse('request_invalid', `body: ${json.refusal.text}`, `offset ${json.refusal.at}`)
  const parsed = schema.safeParse(json.value)
  return parsed.success ? ok(parsed.data) : invalid(parsed.error, 'body')
}

const tooLarge = (limits: Limits): Result<never> =>
  refuse('too_large', `body: more than ${limits.maxBodyBytes} bytes`, 'body')

const unfinished = (): Result<never> => refuse('request_invalid', 'body: it did not arrive whole', 'aborted')

// Reads Node's own stream: a web stream in between costs more than everything else on the path of a refusal.
function fromSocket(incoming: IncomingMessage, limits: Limits, clock: Clock): Promise<Result<Uint8Array>> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    let size = 0
    const timer = clock.after(limits.bodyMs, () =>
      finish(refuse('request_invalid', `body: it did not arrive within ${limits.bodyMs / 1000} s`, 'slow')),
    )
    const onData = (chunk: Buffer): void => {
      size += chunk.length
      if (size > limits.maxBodyBytes) finish(tooLarge(limits))
      else chunks.push(chunk)
    }
    const onEnd = (): void =>
      finish(ok(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)))
    const onGone = (): void => finish(unfinished())
    function finish(result: Result<Uint8Array>): void {
      timer.cancel()
      incoming.off('data', onData).off('end', onEnd).off('close', onGone).off('error', onGone)
      // An error after this has nobody to tell, and without a listener would end the process.
      incoming.on('error', () => {})
      if (!result.ok) incoming.pause()
      resolve(result)
    }
    incoming.on('data', onData).on('end', onEnd).on('close', onGone).on('error', onGone)
    if (incoming.destroyed) onGone()
  })
}

async function fromStream(body: ReadableStream<Uint8Array> | null, limits: Limits): Promise<Result<Uint8Array>> {
  if (body === null) return ok(new Uint8Array())
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of body) {
      size += chunk.length
      if (size > limits.maxBodyBytes) return tooLarge(limits)
      chunks.push(chunk)
    }
  } catch {
    return unfinished()
  }
  return ok(Buffer.concat(chunks))
}
