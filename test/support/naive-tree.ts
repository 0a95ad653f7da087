import { createHash } from 'node:crypto'

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** RFC 6962 §2.1 written down as the RFC says it, recursively, to check the real one against. */
export function naiveRoot(leaves: readonly Uint8Array[]): Buffer {
  return naiveRootOfHashes(leaves.map(naiveLeaf))
}

export const naiveLeaf = (leaf: Uint8Array): Buffer => sha256(Buffer.of(0), leaf)

/** The same over leaf hashes, or over the roots of equal perfect trees in their place. */
export function naiveRootOfHashes(hashes: readonly Buffer[]): Buffer {
  const [only] = hashes
  if (only === undefined) return sha256()
  if (hashes.length === 1) return only
  const split = naiveSplit(hashes.length)
  return sha256(Buffer.of(1), naiveRootOfHashes(hashes.slice(0, split)), naiveRootOfHashes(hashes.slice(split)))
}

/** PATH(m, D[n]) of RFC 6962 §2.1.1. */
export function naiveInclusion(index: number, hashes: readonly Buffer[]): Buffer[] {
  if (hashes.length === 1) return []
  const split = naiveSplit(hashes.length)
  const [left, right] = [hashes.slice(0, split), hashes.slice(split)]
  return index < split
    ? [...naiveInclusion(index, left), naiveRootOfHashes(right)]
    : [...naiveInclusion(index - split, right), naiveRootOfHashes(left)]
}

/** SUBPROOF(m, D[n], b) of RFC 6962 §2.1.2. */
export function naiveConsistency(from: number, hashes: readonly Buffer[], isWholeOld = true): Buffer[] {
  if (from === hashes.length) return isWholeOld ? [] : [naiveRootOfHashes(hashes)]
  const split = naiveSplit(hashes.length)
  const [left, right] = [hashes.slice(0, split), hashes.slice(split)]
  return from <= split
    ? [...naiveConsistency(from, left, isWholeOld), naiveRootOfHashes(right)]
    : [...naiveConsistency(from - split, right, false), naiveRootOfHashes(left)]
}

function naiveSplit(count: number): number {
  let split = 1
  while (split * 2 < count) split *= 2
  return split
}
