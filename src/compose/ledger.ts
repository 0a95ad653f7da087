import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Config } from '../config/config.ts'
import { openLedgerKey } from '../ledger/keys.ts'
import { type FileLedger, openFileLedger } from '../ledger/store/file.ts'

/** The ledger the configuration names, with the keys it names. */
export async function openLedger(config: Config, clock: Clock, log: Log): Promise<FileLedger> {
  const { dir, origin, keyFile, previousKeyFile, anchor, archive, witnesses, quorum, witnessTimeoutMs } = config.ledger
  const key = await openLedgerKey({ text: config.ledger.key?.reveal(), file: keyFile, origin, create: true })
  const previous =
    previousKeyFile === undefined ? undefined : await openLedgerKey({ file: previousKeyFile, origin, create: false })
  return openFileLedger({
    dir,
    origin,
    key,
    ...(previous === undefined ? {} : { previousKey: previous }),
    ...(anchor === undefined ? {} : { anchor }),
    ...(archive === undefined ? {} : { archive }),
    witnesses: { witnesses, quorum, timeoutMs: witnessTimeoutMs },
    clock,
    log,
  })
}
