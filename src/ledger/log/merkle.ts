import { hash } from 'node:crypto'

/** What stands before the data of a leaf. */
export const leafPrefix = 0x00
/** What stands before the two hashes of an inner node. */
export const nodePrefix = 0x01
const hashBytes = 32

/**
 * SHA-256 as a string of one character a byte: measured on Node 26, that is three times as fast as asking for a buffer, which
 * costs an allocation outside the heap.
 */
export const sha256Text = (data: Uint8Array): string => hash('sha256', data, 'binary')

const sha256 = (data: Uint8Array): Uint8Array => Buffer.from(sha256Text(data), 'binary')

/** Root of the tree without leaves: SHA-256 of nothing (RFC 6962 §2.1). */
export const emptyRoot: Uint8Array = hash('sha256', '', 'buffer')

/** Hash of one leaf: SHA-256(0x00 ‖ data) (RFC 6962 §2.1). */
export function leafHash(data: Uint8Array): Uint8Array {
  const input = new Uint8Array(data.length + 1)
  input[0] = leafPrefix
  input.set(data, 1)
  return sha256(input)
}

// Filled and hashed within one call: memory of its own for each node would cost more than its hash.
const nodeInput = Buffer.alloc(1 + 2 * hashBytes, nodePrefix)

/** Hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 6962 §2.1). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  nodeInput.set(left, 1)
  nodeInput.set(right, 1 + hashBytes)
  return sha256(nodeInput)
}

/**
 * A growing RFC 6962 tree that keeps only the roots of its perfect subtrees, largest first (a compact range): one hash per
 * set bit of the size. Appending costs one node hash on average, a root at most log2(size).
 */
export interface RunningTree {
  readonly size: number
  append(leaf: Uint8Array): void
  root(): Uint8Array
  /** Roots of its perfect subtrees, largest first. */
  peaks(): readonly Uint8Array[]
}

/** A tree to go on from. */
export interface TreeStart {
  readonly size: number
  /** As `RunningTree.peaks` gave them at that size. */
  readonly peaks: readonly Uint8Array[]
}

/** Called with the root of each perfect subtree that an append completes: 2^height leaves, the last of them the new one. */
export type OnSubtree = (height: number, root: Uint8Array) => void

/** A tree without leaves, or the one that `start` describes. */
export function createTree(start: TreeStart = { size: 0, peaks: [] }, onSubtree?: OnSubtree): RunningTree {
  const peaks = [...start.peaks]
  let { size } = start
  return {
    get size() {
      return size
    },
    append(leaf) {
      let peak = leaf
      let height = 0
      // Each trailing one bit of the size is a perfect subtree that the new leaf completes to one of twice its size.
      for (let bits = size; bits % 2 === 1; bits = (bits - 1) / 2) {
        peak = nodeHash(peaks.pop() ?? emptyRoot, peak)
        onSubtree?.(++height, peak)
      }
      peaks.push(peak)
      size++
    },
    root() {
      let root = peaks.at(-1) ?? emptyRoot
      for (let i = peaks.length - 2; i >= 0; i--) root = nodeHash(peaks[i] ?? emptyRoot, root)
      return root
    },
    peaks: () => [...peaks],
  }
}
