import { join } from 'node:path'
import { isCode, nodeDisk, readSmallFile } from '../disk.ts'
import { hashBytes, maxBundleBytes, type TileId, tilePath, tileWidth } from '../tile.ts'

/** The files of a C2SP tlog-tiles log, wherever they are. Nothing that comes from here is to be trusted. */
export interface LogFiles {
  /** Tiles that may be asked for at once. */
  readonly atOnce: number
  checkpoint(): Promise<Buffer | undefined>
  /** The tile, or a wider one in its place where the log has grown since. */
  tile(id: TileId): Promise<FoundTile | undefined>
}

interface FoundTile {
  /** Hashes or entries it should hold; at least as many as were asked for. */
  readonly width: number
  readonly bytes: Buffer
}

const maxCheckpointBytes = 512 * 1024

/** The log in a folder, which a broker may be writing. */
export function logInFolder(dir: string): LogFiles {
  const read = (path: string, maxBytes: number): Promise<Buffer | undefined> =>
    readSmallFile(nodeDisk, join(dir, path), maxBytes).catch((error: unknown) => {
      if (isCode(error, 'ENOTDIR')) return undefined
      throw error
    })
  return {
    atOnce: 1,
    checkpoint: () => read('checkpoint', maxCheckpointBytes),
    async tile(id) {
      for (const width of [id.width, ...(await widerThan(dir, id))]) {
        const bytes = await read(tilePath({ ...id, width }), maxTileBytes(id))
        if (bytes !== undefined) return { width, bytes }
      }
      return undefined
    },
  }
}

/** Widths in which a wider tile may stand in the same place. */
async function widerThan(dir: string, id: TileId): Promise<readonly number[]> {
  if (id.width === tileWidth) return []
  const names = await nodeDisk.readdir(join(dir, `${tilePath({ ...id, width: tileWidth })}.p`)).catch(() => [])
  const partial = names.filter((name) => /^[1-9]\d{0,2}$/.test(name)).map(Number)
  return [tileWidth, ...partial.filter((width) => width > id.width && width < tileWidth)]
}

/** The log below a URL that `isLogUrl` takes. */
export function logAtUrl(prefix: string): LogFiles {
  const base = prefix.replace(/\/+$/, '')
  return {
    atOnce: 8,
    checkpoint: () => get(`${base}/checkpoint`, maxCheckpointBytes),
    async tile(id) {
      for (const width of new Set([id.width, tileWidth])) {
        const bytes = await get(`${base}/${tilePath({ ...id, width })}`, maxTileBytes(id))
        if (bytes !== undefined) return { width, bytes }
      }
      return undefined
    },
  }
}

const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/
const timeoutMs = 60_000

/** Whether `text` is a URL that a log may be read from: https, or http to this machine. */
export function isLogUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, hostname, username, password, search, hash } = new URL(text)
  if (`${username}${password}${search}${hash}` !== '') return false
  return protocol === 'https:' || (protocol === 'http:' && loopback.test(hostname))
}

/** What is there, bounded in size and time; no redirect is followed. */
async function get(url: string, maxBytes: number): Promise<Buffer | undefined> {
  const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(timeoutMs) })
  if (response.status === 404 || response.body === null) {
    await response.body?.cancel()
    return undefined
  }
  if (response.status !== 200) throw new Error(`${url} answered ${response.status}`)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body) {
    size += chunk.length
    if (size > maxBytes) throw new Error(`${url} sent more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const maxTileBytes = ({ level }: TileId): number => (level === 'entries' ? maxBundleBytes : tileWidth * hashBytes)
