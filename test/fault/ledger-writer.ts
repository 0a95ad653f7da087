/**
 * Child of the fault tests: opens the ledger in the folder given and appends as fast as it can, 16 at once, printing each position once
 * it is acknowledged. Segments are small and checkpoints frequent, so that kills also fall between their steps.
 */
import { writeSync } from 'node:fs'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { openFileLedger } from '../../src/ledger/store/file.ts'
import { numberedEntry } from '../support/entries.ts'
import { origin, testKey } from '../support/ledger.ts'

const [dir = '', mode = 'append'] = process.argv.slice(2)
const ledger = await openFileLedger({
  dir,
  origin,
  key: testKey,
  clock: systemClock,
  log: silentLog,
  segmentBytes: 16 * 1024,
  checkpointIntervalMs: 3,
}).catch((error: unknown) => {
  // Synchronous writes: what was printed is in the pipe even when the next instruction is the last.
  writeSync(1, `refused ${String(error)}\n`)
  process.exit(3)
})
writeSync(1, `opened ${ledger.head().size}\n`)

const appendForever = async (): Promise<never> => {
  for (let n = 0; ; n++) {
    const { index, leafHash } = await ledger.append(numberedEntry(n % 50))
    writeSync(1, `${index} ${leafHash}\n`)
  }
}
if (mode === 'append') await Promise.all(Array.from({ length: 16 }, appendForever))
else setInterval(() => {}, 60_000)
