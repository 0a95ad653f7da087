import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { BrokerFault } from '../../base/errors.ts'

/** Held until released or until the process ends, however it ends. Releasing twice is harmless. */
export interface WriterLock {
  release(): void
}

/**
 * Takes the single-writer lock of a folder, in which messages say that `what` is kept. Two processes, or two writers of one
 * process, never hold it at once, and it cannot go stale: it is a lock of the kernel on the file `lock`, taken through SQLite's
 * exclusive transaction because Node itself offers no file locks. A pid file would outlive `kill -9` and lie once the pid is
 * used again. Nothing else in this process may open and close that file: POSIX would drop the lock with it.
 * @throws BrokerFault `ledger_unavailable` when it is held.
 */
export function takeWriterLock(dir: string, what = 'the ledger'): WriterLock {
  const path = join(dir, 'lock')
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(path)
    database.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    database?.close()
    const busy = cause instanceof Error && 'errcode' in cause && cause.errcode === sqliteBusy
    throw new BrokerFault(
      'ledger_unavailable',
      busy
        ? `another process is writing ${what} in ${dir}: it holds the lock on ${path}`
        : `the lock of ${what}, ${path}, cannot be taken; can this user write to the folder?`,
      { cause },
    )
  }
  const held = database
  return {
    release() {
      if (held.isOpen) held.close()
    },
  }
}

const sqliteBusy = 5
