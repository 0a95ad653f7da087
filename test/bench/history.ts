import { systemClock } from '../../src/base/clock.ts'
import { type GrantId, newId } from '../../src/base/ids.ts'
import { silentLog } from '../../src/base/log.ts'
import { openLedgerKey } from '../../src/ledger/keys.ts'
import { createSealer } from '../../src/ledger/seal.ts'
import { openFileLedger } from '../../src/ledger/store/file.ts'
import { endedEntry, intentEntry, issuedEntry, loadedEntry } from '../support/entries.ts'
import { ledgerIn, ledgerKeyIn, origin } from './serve.ts'

/** What a ledger of a broker that is not running is filled with. */
export interface History {
  /** Grants that were issued and have ended: four entries each. */
  readonly ended: number
  /** Grants that live until tomorrow: two entries each, with a sealed lease. */
  readonly live: number
}

/**
 * Fills the ledger of the broker whose folder this is, as issuing leaves it: each grant has an identifier, a request and a
 * database user of its own. The live ones come last, the ended ones first.
 */
export async function writeHistory(dir: string, { ended, live }: History): Promise<void> {
  const key = await openLedgerKey({ file: ledgerKeyIn(dir), origin, create: true })
  const ledger = await openFileLedger({ dir: ledgerIn(dir), origin, key, clock: systemClock, log: silentLog })
  const sealer = createSealer(Buffer.alloc(32, 7))

  async function issue(n: number, seconds: number): Promise<GrantId> {
    const grant: GrantId = newId('gr', Date.now())
    const lease = await sealer.seal({ type: 'lease', id: `database/creds/orders-ro/${grant.slice(-24)}` })
    const workload = `workload-${n % 500}`
    const ceilings = [{ name: 'purpose', seconds }]
    const about = { grant, workload, ceilings }
    await ledger.append(Object.assign(intentEntry(n), { ...about, ttl: seconds }))
    const expires = new Date(Date.now() + seconds * 1000).toISOString()
    await ledger.append(Object.assign(issuedEntry(n), { ...about, lease, expires }))
    return grant
  }
  async function liveAndEnd(n: number): Promise<void> {
    const grant = await issue(n, 900)
    const about = { grant, workload: `workload-${n % 500}`, owner: 'payments' }
    const actor = { type: 'broker', reason: 'revoke' } as const
    await ledger.append({ ...about, actor, kind: 'grant.ending', cause: 'handed_back' })
    await ledger.append({ ...endedEntry(n), ...about })
  }

  try {
    await ledger.append(loadedEntry)
    await inBatches(ended, liveAndEnd)
    await inBatches(live, async (n) => void (await issue(ended + n, 86_400)))
  } finally {
    await ledger.close()
  }
}

const atOnce = 1000

async function inBatches(count: number, one: (n: number) => Promise<void>): Promise<void> {
  for (let from = 0; from < count; from += atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, count - from) }, (_, i) => one(from + i)))
  }
}
