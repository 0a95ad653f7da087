import { parentPort } from 'node:worker_threads'
import { type ReadJob, readJob } from './reader.ts'

// One thread of the worker reader: a batch of jobs in, their results out, in order.
parentPort?.on('message', (jobs: readonly ReadJob[]) => {
  parentPort?.postMessage(jobs.map(readJob))
})
