import { nodeHash } from './merkle.ts'
import type { Subtrees } from './subtrees.ts'
import { hashBytes } from './tile.ts'

/** Hashes, each of 32 bytes, from the leaf upwards. */
export type Proof = readonly Uint8Array[]

/** A proof that does not hold. The message says which rule was broken. */
export class ProofError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ProofError'
  }
}

/** Greatest power of two that is smaller than `n`, for `n` above 1. */
function splitOf(n: number): number {
  let power = 1
  // Not by logarithm: a float cannot tell 2^50 + 1 from 2^50 there.
  while (power * 2 < n) power *= 2
  return power
}

const isWithin = (value: number, greatest: number): boolean =>
  Number.isSafeInteger(value) && value >= 0 && value <= greatest

/**
 * The audit path of entry `index` in the tree over the first `size` entries (RFC 6962 §2.1.1).
 * @throws RangeError when there is no such entry, or `subtrees` covers fewer.
 */
export async function inclusionProof(subtrees: Subtrees, index: number, size: number): Promise<Proof> {
  if (!isWithin(index, size - 1) || !isWithin(size, subtrees.size)) throw new RangeError(`no entry ${index} in ${size}`)
  const path: Promise<Uint8Array>[] = []
  for (let [from, to] = [0, size]; to - from > 1; ) {
    const middle = from + splitOf(to - from)
    if (index < middle) {
      path.push(subtrees.root(middle, to))
      to = middle
    } else {
      path.push(subtrees.root(from, middle))
      from = middle
    }
  }
  return Promise.all(path.reverse())
}

/**
 * The proof that the tree over `size` entries extends the one over the first `from` of them (RFC 6962 §2.1.2); empty when
 * `from` is 0 or `size`.
 * @throws RangeError when `from` is greater, or `subtrees` covers fewer.
 */
export async function consistencyProof(subtrees: Subtrees, from: number, size: number): Promise<Proof> {
  if (!isWithin(from, size) || !isWithin(size, subtrees.size)) throw new RangeError(`${size} does not extend ${from}`)
  if (from === 0 || from === size) return []
  const path: Promise<Uint8Array>[] = []
  let [low, high] = [0, size]
  // Until the range is one whose root the holder of the old tree can compute: all of it is old.
  while (high > from) {
    const middle = low + splitOf(high - low)
    if (from <= middle) {
      path.push(subtrees.root(middle, high))
      high = middle
    } else {
      path.push(subtrees.root(low, middle))
      low = middle
    }
  }
  // The root of the whole old tree is known to its holder already.
  if (low > 0) path.push(subtrees.root(low, high))
  return Promise.all(path.reverse())
}

/**
 * Checks that a leaf hash is entry `index` of the tree with that size and root.
 * @throws ProofError
 * @see RFC 9162 §2.1.3.2
 */
export function verifyInclusion(
  of: { readonly index: number; readonly leafHash: Uint8Array; readonly size: number; readonly root: Uint8Array },
  proof: Proof,
): void {
  if (!Number.isSafeInteger(of.size) || !isWithin(of.index, of.size - 1)) {
    throw new ProofError(`entry ${of.index} is not in a tree of ${of.size}`)
  }
  refuseOddHashes([of.leafHash, ...proof])
  let [place, last] = [of.index, of.size - 1]
  let hash = of.leafHash
  for (const sibling of proof) {
    if (last === 0) throw new ProofError('the proof is too long')
    if (place % 2 === 1 || place === last) {
      hash = nodeHash(sibling, hash)
      while (place % 2 === 0 && place !== 0) [place, last] = [place / 2, Math.floor(last / 2)]
    } else {
      hash = nodeHash(hash, sibling)
    }
    ;[place, last] = [Math.floor(place / 2), Math.floor(last / 2)]
  }
  if (last !== 0) throw new ProofError('the proof is too short')
  if (Buffer.compare(hash, of.root) !== 0) throw new ProofError('the proof does not lead to the root')
}

/** A tree head without its signature. */
interface Head {
  readonly size: number
  readonly root: Uint8Array
}

/**
 * Checks that the tree of `later` extends that of `earlier`. Both must hold entries: what follows from nothing is a
 * rule of the protocol around it.
 * @throws ProofError
 * @see RFC 9162 §2.1.4.2
 */
export function verifyConsistency(earlier: Head, later: Head, proof: Proof): void {
  if (!Number.isSafeInteger(later.size) || earlier.size === 0 || !isWithin(earlier.size, later.size)) {
    throw new ProofError(`a tree of ${later.size} cannot extend one of ${earlier.size}`)
  }
  refuseOddHashes(proof)
  if (earlier.size === later.size) {
    if (proof.length > 0) throw new ProofError('the proof is too long')
    if (Buffer.compare(earlier.root, later.root) !== 0) throw new ProofError('two roots for one size')
    return
  }
  let [place, last] = [earlier.size - 1, later.size - 1]
  while (place % 2 === 1) [place, last] = [Math.floor(place / 2), Math.floor(last / 2)]
  const [first, ...rest] = place === 0 ? [earlier.root, ...proof] : proof
  if (first === undefined) throw new ProofError('the proof is too short')
  let [old, present] = [first, first]
  for (const sibling of rest) {
    if (last === 0) throw new ProofError('the proof is too long')
    if (place % 2 === 1 || place === last) {
      old = nodeHash(sibling, old)
      present = nodeHash(sibling, present)
      while (place % 2 === 0 && place !== 0) [place, last] = [place / 2, Math.floor(last / 2)]
    } else {
      present = nodeHash(present, sibling)
    }
    ;[place, last] = [Math.floor(place / 2), Math.floor(last / 2)]
  }
  if (last !== 0) throw new ProofError('the proof is too short')
  if (Buffer.compare(old, earlier.root) !== 0) throw new ProofError('the proof does not lead to the earlier root')
  if (Buffer.compare(present, later.root) !== 0) throw new ProofError('the proof does not lead to the later root')
}

/** Attacker-controlled: another length could be padded, cut or overrun when it is hashed. */
function refuseOddHashes(hashes: readonly Uint8Array[]): void {
  if (hashes.some(({ length }) => length !== hashBytes)) throw new ProofError(`a hash is not ${hashBytes} bytes`)
}
