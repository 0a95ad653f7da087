import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { nodeDisk, readSmallFile } from '../ledger/disk.ts'
import { ProofError } from '../ledger/proof.ts'
import { type TileId, tilePath } from '../ledger/tile.ts'
import { createTileFiles } from '../ledger/tile-files.ts'
import { CommandError, exit } from './command.ts'
import { printable } from './terminal.ts'

/** A C2SP log as a folder or a URL shows it. Nothing of what it gives is verified. */
export interface LogPlace {
  /** The newest checkpoint: a signed note. */
  checkpoint(): Promise<string>
  /** A tile in that width. @throws ProofError when it is missing */
  tile(id: TileId): Promise<Buffer>
  close(): Promise<void>
}

const maxCheckpointBytes = 512 * 1024

/** Entry bundles that are not there are looked for in `archives`. @throws CommandError when there is no log to be read */
export async function openLogPlace(place: string, archives: readonly string[] = []): Promise<LogPlace> {
  for (const dir of [place, ...archives]) await requireFolder(dir)
  const folders = [place, ...archives].map((dir) => createTileFiles(nodeDisk, dir))
  return {
    async checkpoint() {
      const note = await readSmallFile(nodeDisk, join(place, 'checkpoint'), maxCheckpointBytes)
      if (note === undefined) throw new CommandError(exit.fault, `${printable(place)} holds no checkpoint`)
      return note.toString()
    },
    async tile(id) {
      for (const files of id.level === 'entries' ? folders : folders.slice(0, 1)) {
        const bytes = await files.readCut(id)
        if (bytes !== undefined) return bytes
      }
      const hint = id.level === 'entries' ? '; if old entries were moved to another folder, name it with --archive' : ''
      throw new ProofError(`${tilePath(id)} is missing${hint}`)
    },
    close: async () => {},
  }
}

async function requireFolder(dir: string): Promise<void> {
  const found = await stat(dir).catch(() => undefined)
  if (found?.isDirectory() === true) return
  throw new CommandError(exit.fault, `${printable(dir)} is not a folder that can be read`)
}
