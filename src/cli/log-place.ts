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

/** @throws CommandError when there is no log to be read */
export async function openLogPlace(place: string): Promise<LogPlace> {
  const found = await stat(place).catch(() => undefined)
  if (found?.isDirectory() !== true) {
    throw new CommandError(exit.fault, `${printable(place)} is not a folder that can be read`)
  }
  const files = createTileFiles(nodeDisk, place)
  return {
    async checkpoint() {
      const note = await readSmallFile(nodeDisk, join(place, 'checkpoint'), maxCheckpointBytes)
      if (note === undefined) throw new CommandError(exit.fault, `${printable(place)} holds no checkpoint`)
      return note.toString()
    },
    async tile(id) {
      const bytes = await files.readCut(id)
      if (bytes === undefined) throw new ProofError(`${tilePath(id)} is missing`)
      return bytes
    },
    close: async () => {},
  }
}
