import { parentPort } from 'node:worker_threads'
import { type ReadJob, readJob } from './reader.ts'

// The YAML library looks a debugging variable up for every token, and a look-up in the real environment leaves JavaScript each
// time: a third of all parsing. This thread needs nothing from the environment, so it gets an empty one.
Object.defineProperty(process, 'env', { value: {} })

// One thread of the worker reader: a batch of jobs in, their results out, in order.
parentPort?.on('message', (jobs: readonly ReadJob[]) => {
  parentPort?.postMessage(jobs.map(readJob))
})
