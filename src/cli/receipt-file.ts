import { stat } from 'node:fs/promises'
import { messageOf } from '../base/errors.ts'
import type { IssuedCredential } from '../contract/credential.ts'
import { parseReceipt } from '../ledger/log/receipt.ts'
import { type AtomicFile, createAtomicFile } from './atomic-file.ts'
import { CommandError, exit, type Io } from './command.ts'
import type { BrokerClient } from './http-client.ts'
import { printable } from './terminal.ts'

/** The place of a receipt that is still to come. */
export interface ReceiptFile {
  /** Puts the receipt of an issuance there and says on stderr when that cannot be done. Never throws. */
  keep(issued: IssuedCredential, client: Pick<BrokerClient, 'receipt'>, io: Io): Promise<void>
  /** Leaves nothing behind but a receipt that was kept. */
  close(): Promise<void>
}

/**
 * Begins the file before a credential is asked for, so that one that cannot be written is found out while there is nothing to lose.
 * All may read it: a receipt holds nothing secret. @throws CommandError
 */
export async function beginReceipt(path: string): Promise<ReceiptFile> {
  const shown = printable(path)
  let file: AtomicFile
  try {
    if ((await stat(path).catch(() => undefined))?.isDirectory() === true) throw new Error('it is a folder')
    file = await createAtomicFile(path, 0o644)
  } catch (cause) {
    throw new CommandError(exit.fault, `${shown} cannot be written: ${messageOf(cause)}`, undefined, { cause })
  }
  return {
    async keep({ ledger }, client, io) {
      try {
        const text = ledger.proof ?? (await client.receipt(ledger.index))
        parseReceipt(text)
        await file.write(text)
        await file.commit()
      } catch (error) {
        io.stderr(
          `writ: the receipt is not in ${shown}: ${printable(messageOf(error))}\n` +
            `  fix: fetch it later from ${printable(ledger.receipt)}; the credential is as good without it\n`,
        )
      }
    },
    close: () => file.abandon().catch(() => {}),
  }
}
