import { parentPort, workerData } from 'node:worker_threads'
import { createCollector } from './collect.ts'
import type { EntryRequest, EntryThreadData } from './entry-thread.ts'
import { compileShape } from './shape.ts'
import { createTrust } from './trust.ts'
import { createEntryCheck } from './writ-entries.ts'

// The thread that checks entries: what it is asked, it answers in order.
const { schema, vkeys, learnt, story } = workerData as EntryThreadData
const trust = createTrust(vkeys)
for (const key of learnt) trust.learn(key)
const check = createEntryCheck(compileShape(schema), trust, story)

async function answer(request: EntryRequest): Promise<unknown> {
  if (request === 'said') return check.said()
  if (request === 'meaning') return check.meaning()
  if (request === 'skip') return check.skip()
  const { shared, length, ...batch } = request
  return check.next({ ...batch, bytes: Buffer.from(shared, 0, length) })
}

const collect = createCollector()
let last: Promise<void> = Promise.resolve()
parentPort?.on('message', (request: EntryRequest) => {
  last = last.then(async () => {
    parentPort?.postMessage(await answer(request))
    collect()
  })
})
