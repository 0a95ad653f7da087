/**
 * Child of the fault tests: a witness over the folder given that keeps each head durably, says so, and then never answers.
 */
import { writeSync } from 'node:fs'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { startServer } from '../../src/http/server.ts'
import { createWitnessApp } from '../../src/witness/app.ts'
import { testKey } from '../support/ledger.ts'
import { logsOf, openTestStore, witnessKey } from '../support/witness.ts'

const [dir = ''] = process.argv.slice(2)
const logs = logsOf(testKey.vkey)
const store = await openTestStore(dir, logs)
const app = createWitnessApp({
  logs,
  key: witnessKey,
  contradicted: new WeakSet(),
  clock: systemClock,
  log: silentLog,
  store: {
    latest: store.latest,
    async advance(origin, from, next) {
      if (!(await store.advance(origin, from, next))) return false
      writeSync(1, `kept ${next.size}\n`)
      return new Promise(() => {})
    },
  },
})
const server = await startServer({
  app,
  host: '127.0.0.1',
  port: 0,
  clock: systemClock,
  log: silentLog,
  docsUrlBase: '',
})
writeSync(1, `listening ${server.url}\n`)
