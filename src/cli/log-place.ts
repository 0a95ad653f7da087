import { stat } from 'node:fs/promises'
import { BrokerFault, messageOf } from '../base/errors.ts'
import { EntryError } from '../ledger/export/entry-error.ts'
import { UnprovedError } from '../ledger/export/proved-log.ts'
import { NoteError } from '../ledger/log/note.ts'
import { logUrl } from '../ledger/source/log-url.ts'
import type { LogPlace } from '../ledger/source/open.ts'
import { SourceError } from '../ledger/source/tile-source.ts'
import { CommandError, exit, type Io, UsageError } from './command.ts'
import { printable } from './terminal.ts'
import { createTokenSource, type TokenSource } from './token/source.ts'

/** The log that an argument names: a folder that is there, or a URL. @throws UsageError, CommandError */
export async function logPlace(argument: string): Promise<LogPlace> {
  if (!/^https?:\/\//.test(argument)) {
    await requireFolder(argument)
    return { dir: argument }
  }
  try {
    return { url: logUrl(argument) }
  } catch (error) {
    if (error instanceof SourceError) throw new UsageError(error.message)
    throw error
  }
}

/** @throws CommandError when it is not a folder */
export async function requireFolder(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory() === true) return
  throw new CommandError(exit.fault, `${printable(path)} is not a folder that can be read`)
}

/** Of a log that is not for everybody. A token is sent only where the command line says so: the URL may be anybody's. */
export function logToken(file: string | undefined, io: Io): TokenSource | undefined {
  return file === undefined ? undefined : createTokenSource({ file, environment: io.environment, audience: '' })
}

/** The lines of a help text that explain `--token-file`. */
export const logTokenHelp = `  --token-file FILE  token for a URL that is not for everybody; it is sent to its host alone`

/** What to throw when a log could not be read: whether it does not hold, or something else went wrong. */
export function logFailure(error: unknown, place: string): unknown {
  if (error instanceof UsageError || error instanceof CommandError || error instanceof BrokerFault) return error
  if (error instanceof UnprovedError || error instanceof NoteError) {
    const message = `the log in ${printable(place)} does not hold: ${error.message}`
    return new CommandError(exit.verificationFailed, message, undefined, { cause: error })
  }
  if (error instanceof EntryError) return new CommandError(exit.fault, error.message, undefined, { cause: error })
  if (error instanceof SourceError) return unreadable(error, place)
  return new CommandError(exit.fault, `the work failed: ${messageOf(error)}`, undefined, { cause: error })
}

/** What to throw for a log that cannot be read. */
export function unreadable(error: SourceError, place: string): CommandError {
  const [status, fix] = error.reason === undefined ? [exit.fault, undefined] : remedies[error.reason]
  return new CommandError(status, `${printable(place)} cannot be read: ${error.message}`, fix, { cause: error })
}

const remedies = {
  unavailable: [exit.unavailable, 'check the address and the network'],
  not_for_everybody: [exit.unauthenticated, "name the file with an auditor's token with --token-file"],
} as const
