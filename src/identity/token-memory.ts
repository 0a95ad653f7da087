import type { CryptoKey } from 'jose'
import { sha256Hex } from '../base/digest.ts'
import type { UnverifiedToken } from './token.ts'

/** What a token says, and the key whose signature it was found to carry. */
export interface GenuineToken {
  readonly parts: UnverifiedToken
  readonly key: CryptoKey
}

/**
 * Remembers tokens that were accepted, by their SHA-256, so that the workload which presents one again costs neither its
 * parsing nor its signature: both are the same whenever they are looked at. What depends on the moment (the keys and rules of
 * the issuer, the times, the uses so far) is not remembered and is checked anew each time.
 */
export interface TokenMemory {
  recall(token: string): GenuineToken | undefined
  keep(token: string, genuine: GenuineToken): void
}

// A few megabytes at most: only a trusted issuer can fill it, and the tokens of platforms are shorter than this.
const mostTokens = 1024
const longestToken = 4096

/** A memory that forgets the token longest unused when it is full. */
export function createTokenMemory(): TokenMemory {
  // A map keeps the order of insertion, so the first key is the one longest unused.
  const tokens = new Map<string, GenuineToken>()

  function put(id: string, genuine: GenuineToken): void {
    tokens.delete(id)
    tokens.set(id, genuine)
  }

  return {
    recall(token) {
      const id = sha256Hex(token)
      const genuine = tokens.get(id)
      if (genuine !== undefined) put(id, genuine)
      return genuine
    },
    keep(token, genuine) {
      if (token.length > longestToken) return
      put(sha256Hex(token), genuine)
      const [oldest] = tokens.size > mostTokens ? tokens.keys() : []
      if (oldest !== undefined) tokens.delete(oldest)
    },
  }
}
