import { hashesIn } from './bundle-check.ts'
import { emptyRoot } from './merkle.ts'
import { consistencyProof, ProofError, verifyConsistency } from './proof.ts'
import type { Checkpoint } from './checkpoint.ts'
import { createSubtrees, type ReadTile } from './subtrees.ts'
import type { TileSource } from './tile-source.ts'

/**
 * Checks that the tree of `head` extends that of a tree head saved earlier, by a consistency proof made from the tiles of the log. The
 * tiles need not be sound: a proof that holds cannot be made from wrong ones.
 * @throws ProofError, SourceError
 */
export async function checkSince(log: TileSource, since: Checkpoint, head: Checkpoint): Promise<void> {
  if (since.size > head.size) {
    throw new ProofError(`it is over ${since.size} entries, and only ${head.size} are signed for by now`)
  }
  if (since.size === 0) {
    if (Buffer.compare(since.root, emptyRoot) !== 0) throw new ProofError('it is over nothing and has a root')
    return
  }
  const readTile: ReadTile = async (id) => {
    const hashes = hashesIn(id, await log.tile(id), [])
    if (hashes === undefined) throw new ProofError('tiles are missing that would prove it')
    return hashes
  }
  verifyConsistency(since, head, await consistencyProof(createSubtrees(head.size, readTile), since.size, head.size))
}
