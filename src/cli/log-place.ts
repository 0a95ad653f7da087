import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ProofError } from '../ledger/log/proof.ts'
import { cutTile, hashBytes, maxBundleBytes, type TileId, tilePath, tileWidth } from '../ledger/log/tile.ts'
import { nodeDisk, readSmallFile } from '../ledger/store/disk.ts'
import { createTileFiles } from '../ledger/store/tile-files.ts'
import { CommandError, exit, UsageError } from './command.ts'
import { printable } from './terminal.ts'

/** A C2SP log as a folder or a URL shows it. Nothing of what it gives is verified; its size is bounded. */
export interface LogPlace {
  /** The newest checkpoint: a signed note. */
  checkpoint(): Promise<string>
  /** A tile in that width. @throws ProofError when it is missing */
  tile(id: TileId): Promise<Buffer>
}

/** Reads a file of the log, or a tile in exactly that width; `undefined` when there is none. */
interface Files {
  checkpoint(): Promise<Buffer | undefined>
  tile(id: TileId): Promise<Buffer | undefined>
}

const maxCheckpointBytes = 512 * 1024
const answerMs = 30_000

/** Entry bundles that are not there are looked for in `archives`. @throws UsageError, CommandError */
export async function openLogPlace(place: string, archives: readonly string[] = []): Promise<LogPlace> {
  const log = /^https?:/.test(place) ? urlFiles(place) : await folderFiles(place)
  const withArchives = [log, ...(await Promise.all(archives.map(folderFiles)))]
  return {
    async checkpoint() {
      const note = await log.checkpoint()
      if (note === undefined) throw new CommandError(exit.fault, `there is no checkpoint in ${printable(place)}`)
      return note.toString()
    },
    async tile(id) {
      for (const files of id.level === 'entries' ? withArchives : [log]) {
        const bytes = await files.tile(id)
        if (bytes !== undefined) return bytes
      }
      const hint = id.level === 'entries' ? '; if old entries were moved to another folder, name it with --archive' : ''
      throw new ProofError(`${tilePath(id)} is missing${hint}`)
    },
  }
}

async function folderFiles(dir: string): Promise<Files> {
  const found = await stat(dir).catch(() => undefined)
  if (found?.isDirectory() !== true) {
    throw new CommandError(exit.fault, `${printable(dir)} is not a folder that can be read`)
  }
  const files = createTileFiles(nodeDisk, dir)
  return {
    checkpoint: () => readSmallFile(nodeDisk, join(dir, 'checkpoint'), maxCheckpointBytes),
    tile: files.readCut,
  }
}

function urlFiles(place: string): Files {
  const prefix = place.endsWith('/') ? place : `${place}/`
  if (!URL.canParse(prefix) || !isTrusted(new URL(prefix))) {
    throw new UsageError('the URL of a log is https://, or http:// to this machine')
  }
  const tile = ({ level, n, width }: TileId): Promise<Buffer | undefined> =>
    fetchFile(`${prefix}${tilePath({ level, n, width })}`, level === 'entries' ? maxBundleBytes : tileWidth * hashBytes)
  return {
    checkpoint: () => fetchFile(`${prefix}checkpoint`, maxCheckpointBytes),
    async tile(id) {
      const exact = await tile(id)
      if (exact !== undefined || id.width === tileWidth) return exact
      // A log may take a partial tile away once the full one is there.
      const full = { ...id, width: tileWidth }
      const bytes = await tile(full)
      return bytes && cutTile(bytes, full, id.width)
    },
  }
}

const isTrusted = ({ protocol, hostname }: URL): boolean =>
  protocol === 'https:' || ['localhost', '127.0.0.1', '[::1]'].includes(hostname)

/** The server is not trusted: what it sends is bounded in size and time, and it cannot send elsewhere. */
async function fetchFile(url: string, maxBytes: number): Promise<Buffer | undefined> {
  const { host } = new URL(url)
  try {
    const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(answerMs) })
    const chunks: Uint8Array[] = []
    let size = 0
    for await (const chunk of response.body ?? []) {
      size += chunk.length
      if (size > maxBytes) throw new CommandError(exit.fault, `${host} sent more than ${maxBytes} bytes for a file`)
      chunks.push(chunk)
    }
    if (response.ok) return Buffer.concat(chunks)
    if (response.status === 404) return undefined
    if (response.status === 401) {
      const fix = 'leave the URL out and set WRIT_URL: then the broker is asked with your token'
      throw new CommandError(exit.unauthenticated, `the log at ${host} is not for everybody`, fix)
    }
    throw new CommandError(exit.unavailable, `${host} answered ${response.status}`)
  } catch (cause) {
    if (cause instanceof CommandError) throw cause
    throw new CommandError(exit.unavailable, `${host} cannot be read`, 'check the address and the network', { cause })
  }
}
