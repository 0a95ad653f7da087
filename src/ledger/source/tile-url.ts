import { setTimeout as wait } from 'node:timers/promises'
import { constants, createGunzip } from 'node:zlib'
import { Agent, type Dispatcher, request } from 'undici'
import { type TileId, tilePath, tileWidth, widthAt } from '../log/tile.ts'
import {
  claimedSize,
  type FoundTile,
  maxCheckpointBytes,
  maxTileBytes,
  SourceError,
  type TileSource,
} from './tile-source.ts'

/** Longest one answer may take, from the request to the last byte. */
const answerMs = 60_000
const tries = 4
const mostRedirects = 3
const atOnce = 16

export interface UrlSourceOptions {
  /** From `logUrl`. */
  readonly url: URL
  /** Token for a log that is not for everybody; sent to the host of the URL and to no other. */
  readonly token?: () => Promise<string>
  /** Ends what is under way. */
  readonly signal?: AbortSignal
  /** Wait before the second of four tries; doubled each time. For faults that pass: no answer, a status of 5xx, or 429. */
  readonly retryMs?: number
}

/**
 * Reads a log over HTTP. The server is not trusted: an answer is bounded in size (before and after decompression) and time, and
 * a redirect is followed three times at most, and never from https to anything else.
 */
export function createUrlSource({ url, token, signal, retryMs = 500 }: UrlSourceOptions): TileSource {
  const agent = new Agent({ connections: atOnce, connect: { timeout: 10_000 } })
  const closing = new AbortController()
  const ended = signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal])

  /** What stands there, but no more than one byte beyond `maxBytes`. */
  async function get(path: string, maxBytes: number): Promise<Buffer | undefined> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await follow(new URL(path, url), maxBytes)
      } catch (cause) {
        ended.throwIfAborted()
        if (!(cause instanceof PassingFault)) throw cause
        if (attempt === tries) {
          throw new SourceError(`${cause.message}, ${tries} times`, { cause, reason: 'unavailable' })
        }
        await wait(retryMs * 2 ** (attempt - 1), undefined, { signal: ended })
      }
    }
  }

  async function follow(first: URL, maxBytes: number): Promise<Buffer | undefined> {
    let at = first
    for (let redirects = 0; redirects <= mostRedirects; redirects++) {
      const next = await fetchOnce(at, maxBytes)
      if (!(next instanceof URL)) return next
      if (next.protocol !== 'https:' && next.origin !== at.origin)
        throw new SourceError(`${at.host} redirects to no https`)
      at = next
    }
    throw new SourceError(`${first.host} redirects more than ${mostRedirects} times`)
  }

  /** What stands there, where to look instead, or `undefined` when there is nothing. */
  async function fetchOnce(at: URL, maxBytes: number): Promise<Buffer | URL | undefined> {
    const deadline = AbortSignal.timeout(answerMs)
    try {
      const answer = await request(at, {
        dispatcher: agent,
        headers: { 'accept-encoding': 'gzip', ...(await authorization(at)) },
        signal: AbortSignal.any([ended, deadline]),
      })
      // Dropping a body that was not read to its end emits an error that nobody waits for; unheard, it would end the process.
      answer.body.on('error', () => {})
      return await read(answer, at, maxBytes)
    } catch (cause) {
      if (cause instanceof SourceError || cause instanceof PassingFault) throw cause
      if (deadline.aborted) throw new PassingFault(`${at.host} took longer than ${answerMs / 1000} s`, cause)
      throw new PassingFault(`${at.host} cannot be reached (${codeOf(cause)})`, cause)
    }
  }

  async function authorization(at: URL): Promise<{ readonly authorization?: string }> {
    return token === undefined || at.origin !== url.origin ? {} : { authorization: `Bearer ${await token()}` }
  }

  async function getNote(path: string): Promise<Buffer | undefined> {
    const bytes = await get(path, maxCheckpointBytes)
    if (bytes === undefined || bytes.length <= maxCheckpointBytes) return bytes
    throw new SourceError(`${url.host} sent more than ${maxCheckpointBytes} bytes for ${path}`)
  }

  /** A narrower tile than the server keeps by now; its checkpoint tells how wide the one is that it keeps. */
  async function wider(id: TileId): Promise<FoundTile | undefined> {
    const width = widthAt(claimedSize(await getNote('checkpoint')), id.level, id.n)
    return width > id.width && width < tileWidth ? find({ ...id, width }) : undefined
  }

  async function find(id: TileId): Promise<FoundTile | undefined> {
    const path = tilePath(id)
    const bytes = await get(path, maxTileBytes(id))
    return bytes === undefined ? undefined : { path, width: id.width, bytes }
  }

  return {
    atOnce,
    checkpoint: () => getNote('checkpoint'),
    async tile(id) {
      const found = await find(id)
      if (found !== undefined || id.width === tileWidth) return found
      return (await find({ ...id, width: tileWidth })) ?? (await wider(id))
    },
    async close() {
      closing.abort()
      await agent.destroy()
    },
  }
}

async function read(
  { statusCode, headers, body }: Dispatcher.ResponseData,
  at: URL,
  maxBytes: number,
): Promise<Buffer | URL | undefined> {
  try {
    if (statusCode === 404 || statusCode === 410) return undefined
    if ([301, 302, 303, 307, 308].includes(statusCode)) {
      const { location } = headers
      if (typeof location !== 'string' || !URL.canParse(location, at.href))
        throw new SourceError(`${at.host} redirects nowhere`)
      return new URL(location, at)
    }
    if (statusCode === 401 || statusCode === 403) {
      const message = `${at.host} answered ${statusCode}: the log is not for everybody, so it wants an auditor’s token`
      throw new SourceError(message, { reason: 'not_for_everybody' })
    }
    if (statusCode === 429 || statusCode >= 500) throw new PassingFault(`${at.host} answered ${statusCode}`)
    if (statusCode !== 200) throw new SourceError(`${at.host} answered ${statusCode}`)
    const encoding = headers['content-encoding'] ?? 'identity'
    if (encoding === 'gzip') return await inflate(await readUpTo(body, mostGzipBytes(maxBytes) + 1), at, maxBytes)
    if (encoding !== 'identity') throw new SourceError(`${at.host} sent an encoding that was not asked for`)
    return await readUpTo(body, maxBytes + 1)
  } finally {
    body.destroy()
  }
}

/** Hashes do not get smaller by compression but larger: by a header, and a little for each block. */
const mostGzipBytes = (bytes: number): number => bytes + Math.ceil(bytes / 256) + 1024

/** The first bytes of a stream, of which no more is taken. */
async function readUpTo(stream: AsyncIterable<Buffer>, most: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of stream) {
    chunks.push(chunk)
    size += chunk.length
    if (size >= most) break
  }
  return Buffer.concat(chunks, Math.min(size, most))
}

async function inflate(bytes: Buffer, at: URL, maxBytes: number): Promise<Buffer> {
  const cut = bytes.length > mostGzipBytes(maxBytes)
  const gunzip = createGunzip(cut ? { finishFlush: constants.Z_SYNC_FLUSH } : {})
  try {
    gunzip.end(bytes)
    const inflated = await readUpTo(gunzip, maxBytes + 1)
    if (cut && inflated.length <= maxBytes) throw new Error('it is longer than what it holds')
    return inflated
  } catch (cause) {
    throw new SourceError(`${at.host} sent bad gzip for ${at.pathname}`, { cause })
  }
}

/** A fault that may be gone the next time. */
class PassingFault extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'PassingFault'
  }
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && /^[A-Z0-9_]{1,60}$/.test(code) ? code : 'no code'
}
