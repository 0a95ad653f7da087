import { stat } from 'node:fs/promises'
import { BrokerFault, messageOf } from '../base/errors.ts'
import { EntryError } from '../ledger/export/entry-row.ts'
import { isLogUrl } from '../ledger/export/log-files.ts'
import { UnprovedError } from '../ledger/export/proved-log.ts'
import { NoteError, parseVkey, type VerifierKey } from '../ledger/log/note.ts'
import { CommandError, exit, UsageError } from './command.ts'
import { printable } from './terminal.ts'

/**
 * Makes sure that a log can be where the command line says it is: a folder, or a URL.
 * @throws UsageError, CommandError
 */
export async function requireLogPlace(place: string): Promise<void> {
  if (isLogUrl(place)) return
  if (/^https?:/.test(place)) {
    throw new UsageError('the URL of a log is https (http to this machine only), without a query')
  }
  const found = await stat(place).catch(() => undefined)
  if (found?.isDirectory() === true) return
  throw new CommandError(exit.fault, `${printable(place)} is not a folder that can be read`)
}

/** What to throw when a log could not be read: whether it does not hold, or something else went wrong. */
export function logFailure(error: unknown, place: string): unknown {
  if (error instanceof UsageError || error instanceof CommandError || error instanceof BrokerFault) return error
  if (error instanceof UnprovedError || error instanceof NoteError) {
    const message = `the log in ${printable(place)} does not hold: ${error.message}`
    return new CommandError(exit.verificationFailed, message, undefined, { cause: error })
  }
  if (error instanceof EntryError) return new CommandError(exit.fault, error.message, undefined, { cause: error })
  return new CommandError(exit.fault, `the work failed: ${messageOf(error)}`, undefined, { cause: error })
}

/** The key behind `--vkey`. @throws UsageError */
export function vkeyOption(text: string): VerifierKey {
  try {
    return parseVkey(text)
  } catch (error) {
    throw new UsageError(`--vkey: ${messageOf(error)}`)
  }
}
