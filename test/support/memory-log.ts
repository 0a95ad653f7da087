import { signCheckpoint } from '../../src/ledger/log/checkpoint.ts'
import { createTree, leafHash } from '../../src/ledger/log/merkle.ts'
import type { SigningKey } from '../../src/ledger/log/note.ts'
import { consistencyProof, type Proof } from '../../src/ledger/log/proof.ts'
import { createSubtrees, type ReadTile } from '../../src/ledger/log/subtrees.ts'
import { tileWidth } from '../../src/ledger/log/tile.ts'

/** A log in memory, whose tiles are computed from all its leaves each time. */
export interface MemoryLog {
  readonly size: number
  append(...leaves: readonly string[]): void
  /** Root over the first `size` entries; over all when absent. */
  root(size?: number): Uint8Array
  /** Checkpoint over the first `size` entries. */
  sign(key: SigningKey, size?: number): string
  prove(from: number, size?: number): Promise<Proof>
  /** A second history with the same beginning. */
  fork(): MemoryLog
}

export function memoryLog(leaves: readonly Uint8Array[] = []): MemoryLog {
  const hashes = [...leaves]
  const rootOf = (some: readonly Uint8Array[]): Uint8Array => {
    const tree = createTree()
    for (const hash of some) tree.append(hash)
    return tree.root()
  }
  const readTile: ReadTile = async ({ level, n, width }) => {
    const span = tileWidth ** level
    const nodes = Array.from({ length: width }, (_, i) => (n * tileWidth + i) * span)
    return Buffer.concat(nodes.map((first) => rootOf(hashes.slice(first, first + span))))
  }
  const root = (size = hashes.length): Uint8Array => rootOf(hashes.slice(0, size))
  return {
    get size() {
      return hashes.length
    },
    append(...texts) {
      hashes.push(...texts.map((text) => leafHash(Buffer.from(text))))
    },
    root,
    sign: (key, size = hashes.length) => signCheckpoint({ origin: key.name, size, root: root(size) }, key),
    prove: (from, size = hashes.length) => consistencyProof(createSubtrees(size, readTile), from, size),
    fork: () => memoryLog(hashes),
  }
}
