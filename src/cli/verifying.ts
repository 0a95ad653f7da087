import { messageOf } from '../base/errors.ts'
import { NoteError, parseVkey, type VerifierKey } from '../ledger/log/note.ts'
import { ProofError } from '../ledger/log/proof.ts'
import { ReceiptError } from '../ledger/log/receipt.ts'
import { TileError } from '../ledger/log/subtrees.ts'
import { BundleError } from '../ledger/log/tile.ts'
import { CommandError, exit, UsageError } from './command.ts'

/** The verifier keys given as `--vkey`. @throws UsageError */
export function readKeys(vkeys: readonly string[] = []): readonly VerifierKey[] {
  try {
    return vkeys.map(parseVkey)
  } catch (error) {
    throw error instanceof NoteError ? new UsageError(`--vkey: ${error.message}`) : error
  }
}

const refusals = [BundleError, NoteError, ProofError, ReceiptError, TileError]

/** Runs a check of what a log or a receipt claims. @throws CommandError with status 6 when it does not hold */
export async function orNotProved<T>(check: () => T | Promise<T>): Promise<T> {
  try {
    return await check()
  } catch (cause) {
    if (!refusals.some((kind) => cause instanceof kind)) throw cause
    throw new CommandError(exit.verificationFailed, `NOT proved: ${messageOf(cause)}`, undefined, { cause })
  }
}
