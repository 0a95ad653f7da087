import { join } from 'node:path'
import { hashBytes, maxBundleBytes, type TileId, tilePath, tileWidth } from '../log/tile.ts'
import { nodeDisk, readSmallFile } from '../store/disk.ts'
import { createTileFiles } from '../store/tile-files.ts'

/** The files of a C2SP tlog-tiles log, wherever they are. Nothing that comes from here is to be trusted. */
export interface LogFiles {
  /** Tiles that may be asked for at once. */
  readonly atOnce: number
  checkpoint(): Promise<Buffer | undefined>
  /** The tile, or a wider one in its place where the log has grown since. @throws BundleError for one that cannot be cut */
  tile(id: TileId): Promise<FoundTile | undefined>
}

interface FoundTile {
  /** Hashes or entries it should hold; at least as many as were asked for. */
  readonly width: number
  readonly bytes: Buffer
}

const maxCheckpointBytes = 512 * 1024

/** The log in a folder, which a broker may be writing, and in those that its older entry bundles were moved to. */
export function logInFolder(dir: string, archives: readonly string[] = []): LogFiles {
  const places = [dir, ...archives].map((place) => createTileFiles(nodeDisk, place))
  return {
    atOnce: 1,
    checkpoint: () => readSmallFile(nodeDisk, join(dir, 'checkpoint'), maxCheckpointBytes),
    async tile(id) {
      for (const files of places) {
        const bytes = await files.readCut(id)
        if (bytes !== undefined) return { width: id.width, bytes }
      }
      return undefined
    },
  }
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
  const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(timeoutMs) }).catch((cause) => {
    throw new Error(`${url} cannot be read`, { cause })
  })
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
