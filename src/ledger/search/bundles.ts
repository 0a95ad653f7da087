import { BrokerFault } from '../../base/errors.ts'
import type { PublishedLog } from '../log/published.ts'
import { parseBundle, tileWidth } from '../log/tile.ts'

/** Bytes of bundles that are kept: those of some 40,000 entries. */
const mostKeptBytes = 32 * 1024 * 1024

/** An entry bundle as it was read, and the hashes that its entries should have. */
export interface Bundle {
  readonly bytes: Buffer
  /** Views of `bytes`. */
  readonly entries: readonly Buffer[]
  /** Leaf hashes of the entries, one after the other, from the tree. Nobody has compared them yet. */
  readonly hashes: Buffer
}

/** Reads the first `width` entries of bundle `n`. @throws BrokerFault (its promise) `ledger_unavailable` when it cannot be read back */
export type ReadBundle = (n: number, width: number) => Promise<Bundle>

/**
 * Reads bundles, and keeps the full ones that were read last: they never change, those who ask for the newest entries of one
 * workload or another all look at the same ones, and opening a file costs more than looking through it.
 */
export function createBundles(log: Pick<PublishedLog, 'tile'>): ReadBundle {
  const kept = new Map<number, Bundle>()
  let keptBytes = 0

  function keep(n: number, bundle: Bundle): void {
    if (!kept.has(n)) keptBytes += bundle.bytes.length
    // The last in the map is the last that was used.
    kept.delete(n)
    kept.set(n, bundle)
    for (const [oldest, { bytes }] of kept) {
      if (keptBytes <= mostKeptBytes) return
      kept.delete(oldest)
      keptBytes -= bytes.length
    }
  }

  return async (n, width) => {
    const bundle = kept.get(n) ?? (await read(log, n, width))
    if (bundle.entries.length === tileWidth) keep(n, bundle)
    return bundle
  }
}

async function read(log: Pick<PublishedLog, 'tile'>, n: number, width: number): Promise<Bundle> {
  const [bytes, hashes] = await Promise.all([
    log.tile({ level: 'entries', n, width }),
    log.tile({ level: 0, n, width }),
  ])
  try {
    if (bytes === undefined || hashes === undefined) throw new Error('it is not there')
    return { bytes, entries: parseBundle(bytes, width), hashes }
  } catch (cause) {
    throw new BrokerFault('ledger_unavailable', `entry bundle ${n} cannot be read back`, { cause })
  }
}
