import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { openFileLedger } from '../../src/ledger/file.ts'
import { generateLedgerKey } from '../../src/ledger/keys.ts'
import { parseSkey } from '../../src/ledger/note.ts'
import { intentEntry } from '../support/entries.ts'
import { drive, perSecond, quantile } from './load.ts'
import { newFolder, origin, removeFolder } from './serve.ts'

const variants: Record<string, object> = {
  full: {},
  noretire: { segmentBytes: 2 ** 31 },
  nopublish: { checkpointIntervalMs: 1e9, segmentBytes: 2 ** 31 },
}
for (let k = 0; k < 2; k++)
  for (const [name, o] of Object.entries(variants)) {
    const dir = await newFolder()
    const ledger = await openFileLedger({
      dir,
      origin,
      key: parseSkey(generateLedgerKey(origin).skeyText),
      clock: systemClock,
      log: silentLog,
      ...o,
    })
    let c = 0
    const append = async () => {
      await ledger.append(intentEntry(c++))
    }
    await drive(append, 64, 500)
    const cpu0 = process.cpuUsage()
    const s = await drive(append, 64, 2500)
    const cpu = process.cpuUsage(cpu0)
    const l = s.latenciesMs.toSorted()
    console.log(
      name,
      Math.round(perSecond(s)),
      'p50',
      quantile(l, 0.5).toFixed(2),
      'p99',
      quantile(l, 0.99).toFixed(2),
      'p999',
      quantile(l, 0.999).toFixed(2),
      'cpu µs/entry',
      ((cpu.user + cpu.system) / l.length).toFixed(1),
    )
    await ledger.close()
    await removeFolder(dir)
  }
