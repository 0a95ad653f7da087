/**
 * Child of the kill-point test: lives a short life of a ledger over the disk given, with full tiles, new segments and segments that go,
 * and kills itself with SIGKILL at one operation on the disk: before it, or, of a write, after half of it. Prints each position
 * once it is acknowledged and each checkpoint once it is served, and how many operations there were when it gets to the end.
 */
import { writeSync } from 'node:fs'
import { silentLog } from '../../src/base/log.ts'
import { type Disk, type DiskFile, nodeDisk } from '../../src/ledger/store/disk.ts'
import { openFileLedger } from '../../src/ledger/store/file.ts'
import { fakeClock } from '../support/clock.ts'
import { numberedEntry } from '../support/entries.ts'
import { origin, published, testKey } from '../support/ledger.ts'

const [dir = '', killAtText = '-1'] = process.argv.slice(2)
const killAt = Number(killAtText)
let operations = 0

const die = (): never => {
  process.kill(process.pid, 'SIGKILL')
  for (;;);
}
/** Whether the present operation is the one to die at; anything but a write dies at once. */
const isLast = (): boolean => operations++ === killAt

function wrap(file: DiskFile): DiskFile {
  return {
    read: (...args) => file.read(...args),
    stat: () => file.stat(),
    close: () => file.close(),
    async write(buffer, offset, length, position) {
      if (!isLast()) return file.write(buffer, offset, length, position)
      await file.write(buffer, offset, Math.floor(length / 2), position)
      return die()
    },
    datasync: async () => (isLast() ? die() : file.datasync()),
    sync: async () => (isLast() ? die() : file.sync()),
    truncate: async (length) => (isLast() ? die() : file.truncate(length)),
  }
}

const disk: Disk = {
  readdir: nodeDisk.readdir,
  mkdir: async (...args) => (isLast() ? die() : nodeDisk.mkdir(...args)),
  rmdir: async (path) => (isLast() ? die() : nodeDisk.rmdir(path)),
  rename: async (from, to) => (isLast() ? die() : nodeDisk.rename(from, to)),
  unlink: async (path) => (isLast() ? die() : nodeDisk.unlink(path)),
  open: async (path, flags, mode) => (flags !== 'r' && isLast() ? die() : wrap(await nodeDisk.open(path, flags, mode))),
}

const say = (line: string): void => void writeSync(1, `${line}\n`)
const clock = fakeClock()
const ledger = await openFileLedger({
  dir,
  origin,
  key: testKey,
  clock,
  log: silentLog,
  fs: disk,
  segmentBytes: 15_000,
})
const sayCheckpoint = (): void => say(`checkpoint ${Buffer.from(ledger.checkpoint()).toString('base64')}`)
for (let round = 0; round < 4; round++) {
  const positions = await Promise.all(Array.from({ length: 90 }, (_, n) => ledger.append(numberedEntry(n))))
  for (const { index, leafHash } of positions) say(`entry ${index} ${leafHash}`)
  await published(ledger, clock)
  sayCheckpoint()
}
await ledger.close()
sayCheckpoint()
say(`operations ${operations}`)
