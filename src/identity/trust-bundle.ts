import { type Algorithm, importKeySet, type JsonObject, KeyDocumentError, type KeySet } from './jwks.ts'

/** Bounds on what a bundle may ask for: often enough to hear of a key that was taken back, seldom enough to be no load. */
export const refreshBounds = { leastMs: 30_000, mostMs: 3600_000 } as const

/**
 * Reads one SPIFFE trust bundle after another (SPIFFE Trust Domain and Bundle, section 4). Keys with `use: jwt-svid` and a `kid`
 * are taken and all others passed over, X.509 authorities among them. `spiffe_refresh_hint` says when to look again, within
 * bounds. A bundle whose `spiffe_sequence` is below one that was read before is an old one, and is not read.
 * The function it gives @throws KeyDocumentError
 */
export function createBundleImport(algorithms: readonly Algorithm[]): (document: unknown) => Promise<KeySet> {
  let newest = 0
  return async (document) => {
    const keys = await importKeySet(document, algorithms, isJwtAuthority)
    const { spiffe_sequence: sequence, spiffe_refresh_hint: hint } = document as JsonObject
    const at = count(sequence, 'spiffe_sequence') ?? newest
    if (at < newest) throw new KeyDocumentError('the trust bundle is older than one that was read before')
    newest = at
    const seconds = count(hint, 'spiffe_refresh_hint')
    if (seconds === undefined) return keys
    const refreshAfterMs = Math.min(refreshBounds.mostMs, Math.max(refreshBounds.leastMs, seconds * 1000))
    return { ...keys, refreshAfterMs }
  }
}

const isJwtAuthority = ({ use, kid }: JsonObject): boolean =>
  use === 'jwt-svid' && typeof kid === 'string' && kid !== ''

function count(value: unknown, name: string): number | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new KeyDocumentError(`${name} of the trust bundle is not a whole number`)
}
