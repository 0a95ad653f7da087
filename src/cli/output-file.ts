import { stat } from 'node:fs/promises'
import { messageOf } from '../base/errors.ts'
import { type AtomicFile, createAtomicFile } from './atomic-file.ts'
import { CommandError, exit } from './command.ts'
import { printable } from './terminal.ts'

/**
 * Begins a file that a caller names, before anything is asked for, so that one that cannot be written is found out while there is
 * nothing to lose. What stands there may only be a file: a device or a pipe would be replaced. @throws CommandError
 */
export async function beginFile(path: string, mode: number): Promise<AtomicFile> {
  try {
    const there = await stat(path).catch(() => undefined)
    if (there?.isFile() === false) throw new Error(`it is ${there.isDirectory() ? 'a folder' : 'no regular file'}`)
    return await createAtomicFile(path, mode)
  } catch (cause) {
    throw new CommandError(exit.fault, `${printable(path)} cannot be written: ${messageOf(cause)}`, undefined, {
      cause,
    })
  }
}
