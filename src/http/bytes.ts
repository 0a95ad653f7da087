import { hash } from 'node:crypto'
import { promisify } from 'node:util'
import { constants, gzip } from 'node:zlib'
import type { Reply } from './reply.ts'

/** Answers that are compressed at once; more go out as they are. */
const mostAtOnce = 2
/** Fewer bytes are not worth it, and of more the cost is not bounded well. */
const [leastBytes, mostBytes] = [1_024, 4 * 1024 * 1024]

const gzipFast = promisify(gzip)

/** Bytes to be answered with. */
export interface Served {
  readonly bytes: Uint8Array
  readonly type: string
  readonly cacheControl: string
  /** Whether compressing makes them smaller: hashes it does not. */
  readonly compressible: boolean
}

/** Answers with bytes that clients and caches may keep: with an entity tag (RFC 9110 section 8.8.3), and compressed where that is wanted. */
export type ServeBytes = (served: Served, header: (name: string) => string | undefined) => Promise<Reply>

export function createByteServer(): ServeBytes {
  let compressing = 0

  async function compress(bytes: Uint8Array): Promise<Uint8Array | undefined> {
    if (compressing === mostAtOnce || bytes.length < leastBytes || bytes.length > mostBytes) return undefined
    compressing++
    try {
      return await gzipFast(bytes, { level: constants.Z_BEST_SPEED })
    } finally {
      compressing--
    }
  }

  return async ({ bytes, type, cacheControl, compressible }, header) => {
    const digest = hash('sha256', bytes, 'base64url').slice(0, 22)
    // Each form has a tag of its own; a client that has either has all there is to know.
    const [plainTag, gzipTag] = [`"${digest}"`, `"${digest}-gzip"`]
    const headers = { 'cache-control': cacheControl, vary: 'accept-encoding, authorization' }
    const known = listOf(header('if-none-match')).map((tag) => tag.replace(/^W\//, ''))
    const tag = [plainTag, gzipTag].find((each) => known.includes(each) || known.includes('*'))
    if (tag !== undefined) return { status: 304, type, body: '', headers: { ...headers, etag: tag } }
    const packed = compressible && takesGzip(header('accept-encoding')) ? await compress(bytes) : undefined
    return packed === undefined
      ? { status: 200, type, body: bytes, headers: { ...headers, etag: plainTag } }
      : { status: 200, type, body: packed, headers: { ...headers, etag: gzipTag, 'content-encoding': 'gzip' } }
  }
}

/** The members of a comma-separated header; attacker-controlled, and bounded by what Node reads of headers. */
const listOf = (text = ''): readonly string[] => text.split(',').map((member) => member.trim())

/** RFC 9110 section 12.5.3: a weight of 0 is a no. */
const takesGzip = (accepted: string | undefined): boolean =>
  listOf(accepted).some((member) => {
    const [coding = '', ...parameters] = member.toLowerCase().split(';')
    return coding.trim() === 'gzip' && !parameters.some((parameter) => /^\s*q=0(\.0*)?\s*$/.test(parameter))
  })
