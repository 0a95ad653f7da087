import { BrokerFault } from '../../base/errors.ts'
import type { Checkpoint } from '../log/checkpoint.ts'
import type { VerifierKey } from '../log/note.ts'
import type { Subtrees } from '../log/subtrees.ts'
import type { Disk } from './disk.ts'
import { readCheckpoint } from './recover.ts'

/**
 * Refuses a log that does not extend the checkpoint kept in a file outside of its folder: it was put back to an earlier state, or
 * it is another log. A file that is not there yet says nothing.
 * @throws BrokerFault `ledger_unavailable`
 */
export async function refuseContradiction(
  disk: Disk,
  anchor: { readonly path: string; readonly keys: readonly VerifierKey[] },
  log: { readonly dir: string; readonly subtrees: Subtrees },
): Promise<void> {
  const saved = await readCheckpoint(disk, anchor.path, anchor.keys)
  if (saved === undefined) return
  const { size, root } = saved.checkpoint
  if (size > log.subtrees.size)
    throw contradiction(anchor.path, saved.checkpoint, `${log.dir} holds ${log.subtrees.size}`)
  if (Buffer.compare(await log.subtrees.root(0, size), root) !== 0) {
    throw contradiction(anchor.path, saved.checkpoint, `the first ${size} in ${log.dir} are others`)
  }
}

function contradiction(path: string, { size }: Checkpoint, found: string): BrokerFault {
  return new BrokerFault(
    'ledger_unavailable',
    `${path} holds a checkpoint over ${size} entries, and ${found}: the folder was put back to an earlier state or replaced; ` +
      'restore the newest copy, and do not remove that file to get on',
  )
}
