import { type Disk, type DiskFile, nodeDisk } from '../../src/ledger/store/disk.ts'

/** One operation on the disk, before it happens. */
export interface Operation {
  readonly verb: 'open' | 'write' | 'datasync' | 'sync' | 'truncate' | 'rename' | 'unlink'
  readonly path: string
}

/** What the disk does instead of an operation: `fail` before it, or `short`, a write that takes one byte less and then fails. */
export type Verdict = 'do' | 'fail' | 'short'

/** The real file system, with a say in every operation that changes it. A failing datasync fails when `failAfter` resolves. */
export function faultyDisk(
  judge: (operation: Operation) => Verdict,
  failAfter: Promise<void> = Promise.resolve(),
): Disk {
  const check = (verb: Operation['verb'], path: string): Verdict => {
    const verdict = judge({ verb, path })
    if (verdict === 'fail') throw Object.assign(new Error(`EIO: i/o error, ${verb}`), { code: 'EIO' })
    return verdict
  }
  const wrap = (file: DiskFile, path: string): DiskFile => ({
    read: (...args) => file.read(...args),
    stat: () => file.stat(),
    close: () => file.close(),
    async write(buffer, offset, length, position) {
      if (check('write', path) === 'do') return file.write(buffer, offset, length, position)
      await file.write(buffer, offset, Math.max(0, length - 1), position)
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    },
    async datasync() {
      try {
        check('datasync', path)
      } catch (error) {
        await failAfter
        throw error
      }
      await file.datasync()
    },
    async sync() {
      check('sync', path)
      await file.sync()
    },
    async truncate(length) {
      check('truncate', path)
      await file.truncate(length)
    },
  })
  return {
    async open(path, flags, mode) {
      check('open', path)
      return wrap(await nodeDisk.open(path, flags, mode), path)
    },
    mkdir: nodeDisk.mkdir,
    readdir: nodeDisk.readdir,
    rmdir: nodeDisk.rmdir,
    async rename(from, to) {
      check('rename', to)
      await nodeDisk.rename(from, to)
    },
    async unlink(path) {
      check('unlink', path)
      await nodeDisk.unlink(path)
    },
  }
}
