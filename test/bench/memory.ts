import { systemClock } from '../../src/base/clock.ts'
import { type GrantId, newId } from '../../src/base/ids.ts'
import { silentLog } from '../../src/base/log.ts'
import { openFileLedger } from '../../src/ledger/file.ts'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import { createSealer } from '../../src/ledger/seal.ts'
import { intentEntry, issuedEntry } from '../support/entries.ts'
import { ledgerIn, ledgerKeyIn, origin } from './serve.ts'

/**
 * Fills the ledger of a broker that is not running with that many grants that live until tomorrow, each with an identifier,
 * a request, a token and a sealed lease of its own, as issuing leaves them. The broker rebuilds them when it starts.
 */
export async function fillLedger(dir: string, grants: number): Promise<void> {
  const key = await openLedgerKey({ file: ledgerKeyIn(dir), origin, create: true })
  const ledger = await openFileLedger({ dir: ledgerIn(dir), origin, key, clock: systemClock, log: silentLog })
  const sealer = createSealer(Buffer.alloc(32, 7))
  const expires = new Date(Date.now() + 86_400_000).toISOString()
  const issueOne = async (n: number): Promise<void> => {
    const grant: GrantId = newId('gr', Date.now())
    const lease = sealer.seal({ type: 'lease', id: `database/creds/orders-ro/${grant.slice(-24)}` })
    await ledger.append({ ...intentEntry(n), grant })
    await ledger.append(Object.assign(issuedEntry(n), { grant, lease, expires }))
  }
  try {
    for (let from = 0; from < grants; from += atOnce) {
      await Promise.all(Array.from({ length: Math.min(atOnce, grants - from) }, (_, i) => issueOne(from + i)))
    }
  } finally {
    await ledger.close()
  }
}

const atOnce = 1000
