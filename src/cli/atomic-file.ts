import { randomBytes } from 'node:crypto'
import { open, rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { nodeDisk, syncFolder } from '../ledger/store/disk.ts'

/** A file that appears under its name whole and durable, or not at all. */
export interface AtomicFile {
  write(chunk: string | Uint8Array): Promise<void>
  /** Makes what was written durable and puts it in the place of what may stand there. */
  commit(): Promise<void>
  /** Takes back what was not committed. */
  abandon(): Promise<void>
}

/** Begins a file of that mode, whatever the umask, beside the one it will become. */
export async function createAtomicFile(path: string, mode = 0o600): Promise<AtomicFile> {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`
  const file = await open(temporary, 'wx', mode)
  await file.chmod(mode)
  let committed = false
  return {
    write: (chunk) => file.writeFile(chunk),
    async commit() {
      await file.sync()
      await file.close()
      await rename(temporary, path)
      committed = true
      await syncFolder(nodeDisk, dirname(path))
    },
    async abandon() {
      if (committed) return
      await file.close()
      await unlink(temporary)
    },
  }
}
