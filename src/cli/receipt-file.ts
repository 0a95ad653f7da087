import { messageOf } from '../base/errors.ts'
import type { IssuedCredential } from '../contract/credential.ts'
import { parseReceipt } from '../ledger/log/receipt.ts'
import type { Io } from './command.ts'
import type { BrokerClient } from './http-client.ts'
import { beginFile } from './output-file.ts'
import { printable } from './terminal.ts'

/** The place of a receipt that is still to come. */
export interface ReceiptFile {
  /** Puts the receipt of an issuance there and says on stderr when that cannot be done. Never throws. */
  keep(issued: IssuedCredential, client: Pick<BrokerClient, 'receipt'>, io: Io): Promise<void>
  /** Leaves nothing behind but a receipt that was kept. */
  close(): Promise<void>
}

/** Begins the file before a credential is asked for. All may read it: a receipt holds nothing secret. @throws CommandError */
export async function beginReceipt(path: string): Promise<ReceiptFile> {
  const shown = printable(path)
  const file = await beginFile(path, 0o644)
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
