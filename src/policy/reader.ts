import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { BrokerFault } from '../base/errors.ts'
import { createPacer } from '../base/pacer.ts'
import { type ParsedFile, type PlaceRequest, parsePolicyText, placesInText } from './document.ts'
import type { Place } from './yaml.ts'

/** Work on the text of one file; the same whether it runs here or in a worker thread. */
export type ReadJob =
  | { readonly type: 'parse'; readonly text: string }
  | { readonly type: 'places'; readonly text: string; readonly requests: readonly PlaceRequest[] }
export type ReadResult = ParsedFile | readonly Place[]

/** Does one job; pure. */
export function readJob(job: ReadJob): ReadResult {
  return job.type === 'parse' ? parsePolicyText(job.text) : placesInText(job.text, job.requests)
}

// Parsing YAML with positions runs at some 2.5 MB/s: below this, starting threads costs more than it saves.
const inlineCharacters = 96 * 1024
const batchJobs = 64
const mostThreads = 4

/**
 * Does jobs without holding up the event loop, and gives their results in order: in this thread where there is little text, in
 * worker threads where there is much. `idleCores` are left to others as far as there are enough.
 */
export function readAll(jobs: readonly ReadJob[], idleCores: number): Promise<readonly ReadResult[]> {
  const characters = jobs.reduce((sum, { text }) => sum + text.length, 0)
  if (characters <= inlineCharacters) return readHere(jobs)
  return readInThreads(jobs, Math.max(1, Math.min(mostThreads, availableParallelism() - idleCores)))
}

async function readHere(jobs: readonly ReadJob[]): Promise<readonly ReadResult[]> {
  const pace = createPacer()
  const results: ReadResult[] = []
  for (const job of jobs) {
    results.push(readJob(job))
    await pace()
  }
  return results
}

async function readInThreads(jobs: readonly ReadJob[], threads: number): Promise<readonly ReadResult[]> {
  const results: ReadResult[] = new Array(jobs.length)
  let next = 0
  const work = async (): Promise<void> => {
    const worker = startWorker()
    try {
      while (next < jobs.length) {
        const from = next
        next += batchJobs
        const batch = await worker.read(jobs.slice(from, next))
        for (const [at, result] of batch.entries()) results[from + at] = result
      }
    } catch (cause) {
      next = jobs.length
      throw new BrokerFault('internal', 'a thread that reads policies ended', { cause })
    } finally {
      await worker.close()
    }
  }
  await Promise.all(Array.from({ length: threads }, work))
  return results
}

// Nothing rewrites these specifiers when the project is built, so the one with this file's own extension is taken.
const program = import.meta.url.endsWith('.ts')
  ? new URL('./reader-worker.ts', import.meta.url)
  : new URL('./reader-worker.js', import.meta.url)

/** A thread that does one batch at a time. `read` rejects when the thread has ended. */
function startWorker() {
  // Syntax trees die young; with room for them, few are copied to the old generation.
  const worker = new Worker(program, { resourceLimits: { maxYoungGenerationSizeMb: 64 } })
  const ended = new Promise<never>((_, reject) => {
    worker.once('error', reject)
    worker.once('exit', (code) => reject(new Error(`exit code ${code}`)))
  })
  ended.catch(() => {})
  return {
    read(batch: readonly ReadJob[]): Promise<readonly ReadResult[]> {
      const answered = new Promise<readonly ReadResult[]>((resolve) => worker.once('message', resolve))
      worker.postMessage(batch)
      return Promise.race([answered, ended])
    },
    close: () => worker.terminate(),
  }
}
