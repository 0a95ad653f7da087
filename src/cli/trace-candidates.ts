import { sha256Hex } from '../base/digest.ts'
import { canonicalJson } from '../ledger/canonical.ts'
import { decodeUnverified } from '../policy/claims.ts'

/**
 * What a text that was found is asked for as, in order: a token or a lease itself is a secret, so it is hashed here and does not leave this
 * machine, not even in the logs of a proxy.
 */
export function traceCandidates(found: string): readonly string[] {
  const text = found.trim()
  const [header, payload, signature] = text.split('.')
  if (signature !== undefined && header?.startsWith('ey') === true) {
    const { iss, jti } = decodeUnverified(text) ?? {}
    const id = typeof jti === 'string' ? [jti] : []
    const named =
      typeof iss === 'string' && typeof jti === 'string' ? JSON.stringify([iss, jti]) : `${header}.${payload}`
    // An access token that the broker signed bears its grant as `jti`; a workload token is known by its fingerprint; Kubernetes
    // tokens that were minted, by the digest of the whole.
    return [...id, sha256Hex(named), sha256Hex(text)]
  }
  // Service and batch tokens of Vault and OpenBao, old forms and new.
  if (/^(?:hv[sb]|[sb])\.[A-Za-z0-9_.-]{20,}$/.test(text)) return [sha256Hex(text)]
  if (text.includes('/')) return [hashOfLease(text), text]
  return [text]
}

const hashOfLease = (id: string): string => sha256Hex(canonicalJson({ type: 'lease', id }))
